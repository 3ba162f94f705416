"""FLUX.1's official weights: a diffusers pipeline folder, its transformer alone, or Black Forest Labs' file."""

from nexus.hub import flow_scheduler, flux_transformer, image_vae
from nexus.hub.source import Source
from nexus.hub.tensors import read_tensors, tensor_names
from nexus.models.diffusion.flux import Flux, FluxConfig
from nexus.models.diffusion.flux_transformer import FluxTransformer
from nexus.process.flow_levels import FlowLevels
from nexus.text.clip import clip_from_folder
from nexus.text.encoders import from_folder
from nexus.text.picture_prompts import FluxPrompts

_PREFIX = "model.diffusion_model."  # which some copies of the file put before every name


def recognise(source: Source) -> bool:
    if source.is_folder:
        return source.config.get("_class_name") in {"FluxPipeline", "FluxTransformer2DModel"}
    return flux_transformer.is_original({name.removeprefix(_PREFIX) for name in tensor_names(source)})


def kind(source: Source) -> str:
    return Flux.__name__


def load(source: Source) -> Flux:
    """A pipeline ready to generate; of a network alone, one without autoencoder and text encoders."""
    if not source.is_folder:
        state = read_tensors(source)
        own = {name.removeprefix(_PREFIX): t for name, t in state.items() if name.startswith(_PREFIX)} or state
        return complete(flux_transformer.load_original(own, source.name))
    if source.config["_class_name"] == "FluxTransformer2DModel":
        return complete(flux_transformer.load_folder(source))
    network = flux_transformer.load_folder(source.part("transformer"))
    model = complete(network, flow_scheduler.load_levels(source))
    model.image_vae = image_vae.load(source.part("vae"))
    model.text_encoder = text_encoder(source, guided=network.config.guidance)
    return model


def complete(network: FluxTransformer, levels: FlowLevels | None = None) -> Flux:
    """The model around a network, with the levels of [dev] or of [schnell] where none are given."""
    own = FluxConfig() if network.config.guidance else FluxConfig.schnell()
    model = Flux(FluxConfig(network=network.config, levels=levels or own.levels, n_steps=own.n_steps))
    model.network = network
    return model


def text_encoder(pipeline: Source, *, guided: bool) -> FluxPrompts:
    """CLIP and T5; T5 read 512 tokens in [dev]'s training, 256 in [schnell]'s, padding as words."""
    clip = clip_from_folder(pipeline.part("text_encoder").path, pipeline.part("tokenizer").path)
    n, folder, tokenizer = 512 if guided else 256, pipeline.part("text_encoder_2").path, pipeline.part("tokenizer_2")
    return FluxPrompts(clip, from_folder(folder, tokenizer=tokenizer.path, max_tokens=n, pad_to=n, read_padding=True))
