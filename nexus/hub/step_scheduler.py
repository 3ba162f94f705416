"""Settings of diffusers' schedulers for discrete diffusion as our levels, prediction and solver."""

from typing import Any

from nexus.hub.source import Source, read_json
from nexus.process.diffusion import Prediction
from nexus.process.step_levels import StepLevels

# What a pipeline's scheduler is called here. PNDM, of which Stable Diffusion 1.x and 2.x take the multistep half, has
# been superseded by DPM-Solver++ of the same order and cost.
SOLVERS = {
    "DDIMScheduler": "ddim",
    "DDPMScheduler": "ddpm",
    "PNDMScheduler": "dpmpp-2m",
    "LMSDiscreteScheduler": "dpmpp-2m",
    "EulerDiscreteScheduler": "euler",
    "EulerAncestralDiscreteScheduler": "euler-ancestral",
    "HeunDiscreteScheduler": "heun",
    "DPMSolverMultistepScheduler": "dpmpp-2m",
    "UniPCMultistepScheduler": "unipc",
    "LCMScheduler": "lcm",
}
_PREDICTIONS: dict[str, Prediction] = {"epsilon": "noise", "v_prediction": "velocity", "sample": "data"}
_SCHEDULES = {"linear": "linear", "scaled_linear": "scaled_linear", "squaredcos_cap_v2": "cosine"}


def load_step_levels(pipeline: Source, *, offset: int | None = None) -> tuple[StepLevels, Prediction, str]:
    """Levels, prediction and solver of a pipeline's folder.

    Args:
        offset: of leading steps, whatever the file says.

    Raises:
        ValueError: settings of another kind of scheduler.
    """
    raw = read_json(pipeline.part("scheduler/scheduler_config.json").path)
    where = f"{pipeline.name}/scheduler/scheduler_config.json"

    def known(name: str, table: dict[str, Any], default: str) -> Any:
        value = raw.get(name, default)
        if value not in table:
            raise ValueError(f"{where}: {name} = {value!r} is not known; known are {', '.join(table)}")
        return table[value]

    solver = known("_class_name", SOLVERS, "DDIMScheduler")
    if raw.get("trained_betas") is not None or raw.get("thresholding"):
        raise ValueError(f"{where}: trained_betas and thresholding are for other models than Stable Diffusion")
    if raw.get("algorithm_type", "dpmsolver++") == "sde-dpmsolver++":
        solver = "dpmpp-2m-sde"
    levels = StepLevels(
        schedule=known("beta_schedule", _SCHEDULES, "linear"),
        betas=(raw.get("beta_start", 1e-4), raw.get("beta_end", 0.02)),
        n_steps=raw.get("num_train_timesteps", 1000),
        zero_snr=raw.get("rescale_betas_zero_snr", False),
        spacing=raw.get("timestep_spacing"),
        offset=raw.get("steps_offset", 0) if offset is None else offset,
        ends_at_first_step=not raw.get("set_alpha_to_one", True),
        karras=raw.get("use_karras_sigmas") or False,
        origin=raw.get("original_inference_steps", 50),
    )
    return levels, known("prediction_type", _PREDICTIONS, "epsilon"), solver
