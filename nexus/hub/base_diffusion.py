"""DDPM's official weights: a diffusers pipeline folder of a `UNet2DModel` and a scheduler, or the network alone."""

from typing import Any

from nexus.hub.source import Source, read_json
from nexus.hub.unet import load_unet
from nexus.models.diffusion.base_diffusion import BaseDiffusion, BaseDiffusionConfig

_PIPELINES = {"DDPMPipeline": "ddpm", "DDIMPipeline": "ddim"}
_PREDICTIONS = {"epsilon": "noise", "v_prediction": "velocity", "sample": "data"}
_SCHEDULES = {
    "linear": "linear",
    "scaled_linear": "scaled_linear",
    "squaredcos_cap_v2": "cosine",
    "sigmoid": "sigmoid",
    "laplace": "laplace",
}
_VARIANCES = {"fixed_small": "small", "fixed_large": "large", "fixed_small_log": "small", "fixed_large_log": "large"}


def recognise(source: Source) -> bool:
    return _pipeline(source) in _PIPELINES or source.config.get("_class_name") in {*_PIPELINES, "UNet2DModel"}


def kind(source: Source) -> str:
    return BaseDiffusion.__name__


def load(source: Source) -> BaseDiffusion:
    """Older repositories keep network and scheduler in the folder itself, newer ones in `unet/` and `scheduler/`."""
    network = source.part("unet") if (source.path / "unet").is_dir() else source
    unet = load_unet(network)
    size = network.config.get("sample_size") or 32
    height, width = size if isinstance(size, list) else (size, size)
    solver = _PIPELINES.get(_pipeline(source), "ddpm")
    settings = _scheduler(source)
    config = BaseDiffusionConfig(
        network=unet.config,
        size=(height, width),
        solver=solver,  # type: ignore[arg-type]
        steps=50 if solver == "ddim" else settings.get("n_steps", 1000),
        **settings,
    )
    model = BaseDiffusion(config)
    model.network = unet
    return model


def _pipeline(source: Source) -> str:
    index = source.path / "model_index.json"
    return read_json(index).get("_class_name", "") if source.is_folder and index.is_file() else ""


def _scheduler(source: Source) -> dict[str, Any]:
    """The scheduler's settings as ours.

    Raises:
        ValueError: settings that are not known.
    """
    path = next(
        (
            p
            for p in (source.path / "scheduler/scheduler_config.json", source.path / "scheduler_config.json")
            if p.is_file()
        ),
        None,
    )
    if path is None:
        return {}
    raw = read_json(path)

    def known(name: str, table: dict[str, str], default: str) -> str:
        value = raw.get(name, default)
        if value not in table:
            raise ValueError(f"{path}: {name} = {value!r} is not known; known are {', '.join(table)}")
        return table[value]

    return {
        "schedule": known("beta_schedule", _SCHEDULES, "linear"),
        "betas": (raw.get("beta_start", 1e-4), raw.get("beta_end", 0.02)),
        "n_steps": raw.get("num_train_timesteps", 1000),
        "prediction": known("prediction_type", _PREDICTIONS, "epsilon"),
        "variance": known("variance_type", _VARIANCES, "fixed_small"),
        "clip": raw.get("clip_sample", True),
    }
