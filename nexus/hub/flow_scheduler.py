"""`FlowMatchEulerDiscreteScheduler`'s settings as our levels."""

from nexus.hub.diffusers_config import refuse_others
from nexus.hub.source import Source, read_json
from nexus.process.flow_levels import FlowLevels

_BUILT_IN = {
    "num_train_timesteps": 1000,
    "invert_sigmas": False,
    "shift_terminal": None,
    "use_karras_sigmas": False,
    "use_exponential_sigmas": False,
    "use_beta_sigmas": False,
    "time_shift_type": "exponential",
    "stochastic_sampling": False,
}


def load_levels(pipeline: Source) -> FlowLevels:
    """The levels of a pipeline's folder.

    Raises:
        ValueError: settings of another scheduler.
    """
    source = pipeline.part("scheduler/scheduler_config.json")
    raw = read_json(source.path)
    refuse_others(raw, _BUILT_IN, pipeline.part("scheduler").name)
    if raw.get("use_dynamic_shifting", False):
        growth = (raw.get("base_shift", 0.5), raw.get("max_shift", 1.15))
        tokens = (raw.get("base_image_seq_len", 256), raw.get("max_image_seq_len", 4096))
        return FlowLevels(shift=raw.get("shift", 1.0), growth=growth, tokens=tokens)
    return FlowLevels(shift=raw.get("shift", 1.0))
