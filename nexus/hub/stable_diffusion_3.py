"""Stable Diffusion 3's official weights: a diffusers pipeline folder, its transformer alone, or Stability's file."""

from nexus.codecs.image_vae import ImageVAEConfig
from nexus.hub import flow_scheduler, image_vae, mmdit, original_vae
from nexus.hub.source import Source
from nexus.hub.tensors import read_tensors, tensor_names
from nexus.models.diffusion.mmdit import MMDiT
from nexus.models.diffusion.stable_diffusion_3 import StableDiffusion3, StableDiffusion3Config
from nexus.process.flow_levels import FlowLevels
from nexus.text.clip import clip_from_folder
from nexus.text.encoders import from_folder
from nexus.text.picture_prompts import SD3Prompts

# Parts of Stability's files; some hold text encoders too, which are left out, as their words and T5's are not there.
_NETWORK, _VAE, _TEXT = "model.diffusion_model.", "first_stage_model.", "text_encoders."
_TOKENS = 256  # that T5 reads


def recognise(source: Source) -> bool:
    if source.is_folder:
        return source.config.get("_class_name") in {"StableDiffusion3Pipeline", "SD3Transformer2DModel"}
    return mmdit.is_original({name.removeprefix(_NETWORK) for name in tensor_names(source)})


def kind(source: Source) -> str:
    return StableDiffusion3.__name__


def load(source: Source) -> StableDiffusion3:
    """A pipeline ready to generate; of a file without text encoders, of a network alone without autoencoder too."""
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
    """Stability's file, with or without the autoencoder.

    Raises:
        ValueError: tensors that do not fit, or that belong to nothing we know.
    """
    state = read_tensors(source)
    if not any(name.startswith(_NETWORK) for name in state):
        return complete(mmdit.load_original(state, source.name), FlowLevels())
    unknown = [name for name in state if not name.startswith((_NETWORK, _VAE, _TEXT))]
    if unknown:
        raise ValueError(f"{source.name}: {len(unknown)} tensors of no part that is known: {', '.join(unknown[:3])} …")
    network, vae = (
        {name.removeprefix(part): tensor for name, tensor in state.items() if name.startswith(part)}
        for part in (_NETWORK, _VAE)
    )
    model = complete(mmdit.load_original(network, source.name), FlowLevels())
    if vae:
        official = ImageVAEConfig.sd3()
        factors = {"scaling_factor": official.scaling_factor, "shift_factor": official.shift_factor}
        model.image_vae = original_vae.load_original(vae, source.name, **factors)
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
    t5 = None
    if pipeline.has("text_encoder_3"):
        folder, tokenizer = pipeline.part("text_encoder_3").path, pipeline.part("tokenizer_3").path
        t5 = from_folder(folder, tokenizer=tokenizer, max_tokens=_TOKENS, pad_to=_TOKENS, read_padding=True)
    return SD3Prompts((first, second), t5, dim=dim, n_tokens=_TOKENS)
