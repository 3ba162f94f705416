"""Consistency models' official weights: diffusers folders of a `UNet2DModel` and a `CMStochasticIterativeScheduler`."""

from nexus.hub.source import Source, read_json
from nexus.hub.unet import load_unet
from nexus.models.diffusion.consistency_model import ConsistencyModel, ConsistencyModelConfig

_SETTINGS = {
    "num_train_timesteps": "n_levels",
    "sigma_min": "least",
    "sigma_max": "most",
    "rho": "rho",
    "sigma_data": "sigma_data",
    "clip_denoised": "clip",
}


def recognise(source: Source) -> bool:
    index = source.path / "model_index.json"
    return source.is_folder and index.is_file() and read_json(index).get("_class_name") == "ConsistencyModelPipeline"


def kind(source: Source) -> str:
    return ConsistencyModel.__name__


def load(source: Source) -> ConsistencyModel:
    """Network and scheduler.

    Raises:
        ValueError: settings of the scheduler that are not known.
    """
    unet = load_unet(source.part("unet"))
    where = source.part("scheduler/scheduler_config.json").path
    raw = read_json(where)
    if raw.get("s_noise", 1.0) != 1.0:
        raise ValueError(f"{where}: s_noise = {raw['s_noise']} is not known; known is 1.0")
    size = source.part("unet").config.get("sample_size") or 64
    height, width = size if isinstance(size, list) else (size, size)
    settings = {ours: raw[theirs] for theirs, ours in _SETTINGS.items() if theirs in raw}
    model = ConsistencyModel(ConsistencyModelConfig(network=unet.config, size=(height, width), **settings))
    model.network = unet
    return model
