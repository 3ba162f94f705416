"""FLUX.1's official weights: a diffusers pipeline folder, its transformer alone, or a file."""

from nexus.codecs.image_vae import ImageVAEConfig
from nexus.hub import flow_scheduler, flux_transformer, image_vae
from nexus.hub.bundle import CLIP_L, NETWORK, T5, Bundle, network_names, read_bundle
from nexus.hub.original_clip import load_clip
from nexus.hub.original_t5 import load_t5
from nexus.hub.source import Source
from nexus.hub.tensors import tensor_names
from nexus.models.diffusion.flux import Flux, FluxConfig
from nexus.models.diffusion.flux_transformer import FluxTransformer
from nexus.process.flow_levels import FlowLevels
from nexus.text.clip import clip_from_folder
from nexus.text.encoders import from_folder
from nexus.text.picture_prompts import FluxPrompts

_PIPELINE = "FluxPipeline"


def recognise(source: Source) -> bool:
    if source.is_folder:
        return source.config.get("_class_name") in {_PIPELINE, "FluxTransformer2DModel"}
    return flux_transformer.is_original(network_names(tensor_names(source)))


def kind(source: Source) -> str:
    return Flux.__name__


def load(source: Source) -> Flux:
    """A pipeline ready to generate; of a network alone, one without autoencoder and text encoders."""
    if not source.is_folder:
        return load_file(source)
    if source.config["_class_name"] == "FluxTransformer2DModel":
        return complete(flux_transformer.load_folder(source))
    network = flux_transformer.load_folder(source.part("transformer"))
    model = complete(network, flow_scheduler.load_levels(source))
    model.image_vae = image_vae.load(source.part("vae"))
    model.text_encoder = text_encoder(source, guided=network.config.guidance)
    return model


def load_file(source: Source) -> Flux:
    """Black Forest Labs' file or ComfyUI's, with or without the autoencoder and text encoders.

    Raises:
        ValueError: tensors that do not fit, or that belong to nothing we know.
    """
    held = read_bundle(source, _PIPELINE)
    network = flux_transformer.load_original(held.parts[NETWORK], source.name)
    model = complete(network, flow_scheduler.load_levels(held.beside) if held.in_pipeline else None)
    if (vae := held.image_vae(ImageVAEConfig.flux())) is not None:
        model.image_vae = vae
    elif held.beside.has("ae.safetensors"):  # as Black Forest Labs lay it beside
        model.image_vae = image_vae.load(held.beside.part("ae.safetensors"))
    if held.parts[CLIP_L] and held.parts[T5]:
        model.text_encoder = text_encoder_of(held, guided=network.config.guidance)
    elif held.in_pipeline:
        model.text_encoder = text_encoder(held.beside, guided=network.config.guidance)
    return model


def complete(network: FluxTransformer, levels: FlowLevels | None = None) -> Flux:
    """The model around a network, with the levels of [dev] or of [schnell] where none are given."""
    own = FluxConfig() if network.config.guidance else FluxConfig.schnell()
    model = Flux(FluxConfig(network=network.config, levels=levels or own.levels, steps=own.steps))
    model.network = network
    return model


def text_encoder(pipeline: Source, *, guided: bool) -> FluxPrompts:
    """CLIP and T5."""
    clip = clip_from_folder(pipeline.part("text_encoder").path, pipeline.part("tokenizer").path)
    n, folder, tokenizer = n_tokens(guided), pipeline.part("text_encoder_2").path, pipeline.part("tokenizer_2")
    return FluxPrompts(clip, from_folder(folder, tokenizer=tokenizer.path, max_tokens=n, pad_to=n, read_padding=True))


def text_encoder_of(held: Bundle, *, guided: bool) -> FluxPrompts:
    """A file's CLIP and T5."""
    beside = held.beside.path
    clip = load_clip(held.parts[CLIP_L], held.where(CLIP_L), beside)
    return FluxPrompts(clip, load_t5(held.parts[T5], held.where(T5), beside, "tokenizer_2", n_tokens=n_tokens(guided)))


def n_tokens(guided: bool) -> int:
    """That T5 read in [dev]'s training and in [schnell]'s, padding as words."""
    return 512 if guided else 256
