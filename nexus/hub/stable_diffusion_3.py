"""Stable Diffusion 3's official weights: a diffusers pipeline folder, its transformer alone, or a file."""

from nexus.codecs.image_vae import ImageVAEConfig
from nexus.hub import flow_scheduler, image_vae, mmdit
from nexus.hub.bundle import CLIP_G, CLIP_L, NETWORK, T5, Bundle, network_names, read_bundle
from nexus.hub.original_clip import load_clip, load_large_clip
from nexus.hub.original_t5 import load_t5
from nexus.hub.source import Source
from nexus.hub.tensors import tensor_names
from nexus.models.diffusion.mmdit import MMDiT
from nexus.models.diffusion.stable_diffusion_3 import StableDiffusion3, StableDiffusion3Config
from nexus.process.flow_levels import FlowLevels
from nexus.text.clip import clip_from_folder
from nexus.text.encoders import TextEncoder, from_folder
from nexus.text.picture_prompts import SD3Prompts

_PIPELINE = "StableDiffusion3Pipeline"
_TOKENS = 256  # that T5 reads


def recognise(source: Source) -> bool:
    if source.is_folder:
        return source.config.get("_class_name") in {_PIPELINE, "SD3Transformer2DModel"}
    return mmdit.is_original(network_names(tensor_names(source)))


def kind(source: Source) -> str:
    return StableDiffusion3.__name__


def load(source: Source) -> StableDiffusion3:
    """A pipeline ready to generate; of a network alone, one without autoencoder and text encoders."""
    if not source.is_folder:
        return load_file(source)
    if source.config["_class_name"] == "SD3Transformer2DModel":
        return complete(mmdit.load_folder(source), FlowLevels())
    vae = image_vae.load(source.part("vae"))
    network = mmdit.load_folder(source.part("transformer"))
    side = network.config.sample_size * vae.config.spatial_compression_ratio
    model = complete(network, flow_scheduler.load_levels(source), side)
    model.image_vae, model.text_encoder = vae, text_encoder(source, network.config.text_dim)
    return model


def load_file(source: Source) -> StableDiffusion3:
    """Stability's file or ComfyUI's, with or without the autoencoder and text encoders.

    Raises:
        ValueError: tensors that do not fit, or that belong to nothing we know.
    """
    held = read_bundle(source, _PIPELINE)
    levels = flow_scheduler.load_levels(held.beside) if held.in_pipeline else FlowLevels()
    model = complete(mmdit.load_original(held.parts[NETWORK], source.name), levels)
    if (vae := held.image_vae(ImageVAEConfig.sd3())) is not None:
        model.image_vae = vae
    if held.parts[CLIP_L] and held.parts[CLIP_G]:
        model.text_encoder = text_encoder_of(held, model.config.network.text_dim)
    elif held.in_pipeline:
        model.text_encoder = text_encoder(held.beside, model.config.network.text_dim)
    return model


def complete(network: MMDiT, levels: FlowLevels, side: int | None = None) -> StableDiffusion3:
    """The model around a network; its pictures are 8 times as large as its latents, unless it is said."""
    side = side or 8 * network.config.sample_size
    model = StableDiffusion3(StableDiffusion3Config(network=network.config, levels=levels, size=(side, side)))
    model.network = network
    return model


def text_encoder(pipeline: Source, dim: int) -> SD3Prompts:
    """Its two CLIPs and, where the folder has it, T5."""
    first, second = (
        clip_from_folder(pipeline.part(encoder).path, pipeline.part(tokenizer).path)
        for encoder, tokenizer in (("text_encoder", "tokenizer"), ("text_encoder_2", "tokenizer_2"))
    )
    return SD3Prompts((first, second), _t5(pipeline), dim=dim, n_tokens=_TOKENS)


def _t5(pipeline: Source) -> TextEncoder | None:
    named = (pipeline.config.get("text_encoder_3") or [None])[0]
    if named is None:
        return None
    if not pipeline.has("text_encoder_3"):
        raise FileNotFoundError(
            f"{pipeline.name}: text_encoder_3 (T5) is missing; to do without it, model_index.json says "
            '"text_encoder_3": [null, null]'
        )
    folder, tokenizer = pipeline.part("text_encoder_3").path, pipeline.part("tokenizer_3").path
    return from_folder(folder, tokenizer=tokenizer, max_tokens=_TOKENS, pad_to=_TOKENS, read_padding=True)


def text_encoder_of(held: Bundle, dim: int) -> SD3Prompts:
    """A file's CLIPs, and its T5 or that of the pipeline that it lies in, if either has one."""
    beside = held.beside.path
    first = load_clip(held.parts[CLIP_L], held.where(CLIP_L), beside, projects=True)
    second = load_large_clip(held.parts[CLIP_G], held.where(CLIP_G), beside)
    if held.parts[T5]:
        t5 = load_t5(held.parts[T5], held.where(T5), beside, "tokenizer_3", n_tokens=_TOKENS)
    else:
        t5 = _t5(held.beside) if held.in_pipeline and held.beside.has("text_encoder_3") else None
    return SD3Prompts((first, second), t5, dim=dim, n_tokens=_TOKENS)
