"""DiT's official weights: a diffusers pipeline folder, its transformer alone, or the authors' file."""

from nexus.hub import dit_transformer, image_vae
from nexus.hub.diffusers_config import refuse_others
from nexus.hub.source import Source, read_json
from nexus.hub.tensors import read_tensors, tensor_names
from nexus.models.diffusion.dit import DiT, DiTConfig
from nexus.models.diffusion.dit_transformer import DiTTransformer

# Settings of the scheduler that our class has built in.
_SCHEDULER = {
    "beta_schedule": "linear",
    "beta_start": 1e-4,
    "beta_end": 0.02,
    "num_train_timesteps": 1000,
    "prediction_type": "epsilon",
    "clip_sample": False,
    "set_alpha_to_one": True,
    "steps_offset": 0,
    "trained_betas": None,
    "thresholding": False,
    "rescale_betas_zero_snr": False,
}


def recognise(source: Source) -> bool:
    if source.is_folder:
        return source.config.get("_class_name") in {"DiTPipeline", "DiTTransformer2DModel"}
    return dit_transformer.is_original(tensor_names(source))


def kind(source: Source) -> str:
    return DiT.__name__


def load(source: Source) -> DiT:
    """A pipeline ready to generate; of a network alone, one without its autoencoder."""
    if not source.is_folder:
        return complete(dit_transformer.load_original(read_tensors(source), source.name), guided_channels=3)
    if source.config["_class_name"] == "DiTTransformer2DModel":
        network = dit_transformer.load_folder(source)
        return complete(network, guided_channels=network.config.in_channels)
    scheduler = read_json(source.part("scheduler/scheduler_config.json").path)
    refuse_others(scheduler, _SCHEDULER, f"{source.name}/scheduler")
    network = dit_transformer.load_folder(source.part("transformer"))
    names = {int(number): name for number, name in (source.config.get("id2label") or {}).items()}
    labels = tuple(names.get(i, "") for i in range(network.config.n_classes)) if names else ()
    vae = image_vae.load(source.part("vae"))
    side = network.config.sample_size * vae.config.spatial_compression_ratio
    # Theirs guides all channels, where the authors' own sampling leaves out the last.
    model = complete(network, guided_channels=network.config.in_channels, labels=labels, side=side)
    model.image_vae = vae
    return model


def complete(
    network: DiTTransformer, *, guided_channels: int, labels: tuple[str, ...] = (), side: int | None = None
) -> DiT:
    """The model around a network; its pictures are 8 times as large as its latents, unless it is said."""
    side = side or 8 * network.config.sample_size
    config = DiTConfig(network=network.config, labels=labels, guided_channels=guided_channels, size=(side, side))
    model = DiT(config)
    model.network = network
    return model
