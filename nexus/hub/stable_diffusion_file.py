"""Stable Diffusion's original single files (CompVis', Stability's, and what communities train from them).

U-Net, autoencoder and text encoders are in one file, settings are not: they are told by the shapes of tensors. What
can't be told is what 2.x predicts: the noise where the file's name says `512` or `base`, as the official ones do.
"""

import re

from nexus.hub.conditional_unet import RULES, convert
from nexus.hub.original_clip import load_clip, load_open_clip
from nexus.hub.original_unet import to_diffusers
from nexus.hub.original_vae import load_original
from nexus.hub.source import Source
from nexus.hub.tensors import State, drop, load_strict, read_tensors, rename
from nexus.models.diffusion.conditional_unet import ConditionalUNet, ConditionalUNetConfig
from nexus.models.diffusion.stable_diffusion import StableDiffusion, StableDiffusionConfig
from nexus.process.step_levels import StepLevels
from nexus.text.clip import ClipText
from nexus.text.clip_prompts import ClipPrompts

MARK = "model.diffusion_model.input_blocks.0.0.weight"
_UNET, _VAE = "model.diffusion_model.", "first_stage_model."
_CLIP = ("cond_stage_model.transformer.", "conditioner.embedders.0.transformer.")
_OPEN_CLIP = ("cond_stage_model.model.", "conditioner.embedders.0.model.", "conditioner.embedders.1.model.")
_LEFT_OUT = (
    r"^model_ema\.",  # the average, which pruned files lack and diffusers leaves out too
    r"^(betas|alphas_cumprod|alphas_cumprod_prev|logvar|lvlb_weights|scale_factor)$",
    r"^(sqrt_|log_one_minus_|posterior_)",  # tables of the schedule
    r"^denoiser\.sigmas$",
)


def load(source: Source) -> StableDiffusion:
    """A model ready to generate.

    Raises:
        ValueError: tensors that do not fit, or that belong to nothing we know.
        FileNotFoundError: no vocabulary (`nexus.hub.original_clip.tokenizer`).
    """
    state = drop(read_tensors(source), *_LEFT_OUT)
    velocity, zero_snr = (state.pop(name, None) is not None for name in ("v_pred", "ztsnr"))
    prefixes = (_UNET, _VAE, *_CLIP, *_OPEN_CLIP)
    parts = {prefix: _part(state, prefix) for prefix in prefixes}
    unknown = [name for name in state if not name.startswith(prefixes)]
    if unknown:
        raise ValueError(f"{source.name}: {len(unknown)} tensors of no part that is known: {', '.join(unknown[:3])} …")
    network = _network(parts[_UNET], source.name)
    xl, second = network.config.added_dim is not None, network.config.text_dim == 1024
    clips = _clips(parts, source, xl)
    base = xl and len(clips) == 2
    name = source.path.name
    levels = StepLevels(zero_snr=zero_snr, spacing="trailing" if zero_snr else "leading" if xl else None)
    told = second and not re.search("512|base", name)
    side = 1024 if xl else 768 if told else 512
    config = StableDiffusionConfig(
        network=network.config,
        levels=levels,
        prediction="velocity" if velocity or told else "noise",
        zero_negative=base,
        size=(side, side),
        solver="euler" if xl else "dpmpp-2m",
        guidance_scale=5.0 if xl else 7.5,
    )
    model = StableDiffusion.around(network, config)
    scale = 0.13025 if xl else 0.18215
    model.image_vae = load_original(parts[_VAE], f"{source.name}, {_VAE}", scaling_factor=scale)
    model.text_encoder = ClipPrompts(clips, penultimate=xl)
    return model


def _part(state: State, prefix: str) -> State:
    return {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}


def _clips(parts: dict[str, State], source: Source, xl: bool) -> tuple[ClipText, ...]:
    beside, clips = source.path.absolute().parent, []
    for prefix in _CLIP:
        if parts[prefix]:
            clips.append(load_clip(parts[prefix], f"{source.name}, {prefix}", beside))
    for prefix in _OPEN_CLIP:
        if parts[prefix]:
            clips.append(load_open_clip(parts[prefix], f"{source.name}, {prefix}", beside, all_layers=xl))
    if not clips:
        raise ValueError(f"{source.name}: holds no text encoder; known are {', '.join((*_CLIP, *_OPEN_CLIP))}")
    return tuple(clips)


def _network(state: State, where: str) -> ConditionalUNet:
    state = {to_diffusers(name): tensor for name, tensor in state.items()}
    network = ConditionalUNet(_config(state))
    load_strict(network, convert(rename(state, RULES)), where)
    return network


def _config(state: State) -> ConditionalUNetConfig:
    """Told by names and shapes, under diffusers' names."""
    n = 1 + max(int(match[1]) for name in state if (match := re.match(r"down_blocks\.(\d+)\.", name)))
    dims = tuple(state[f"down_blocks.{i}.resnets.0.conv1.weight"].shape[0] for i in range(n))
    linear = state["mid_block.attentions.0.proj_in.weight"].ndim == 2  # in 2.x and XL, whose heads have 64 channels
    added = state.get("add_embedding.linear_1.weight")
    return ConditionalUNetConfig(
        in_channels=state["conv_in.weight"].shape[1],
        out_channels=state["conv_out.weight"].shape[0],
        dims=dims,
        n_layers=tuple(_layers(state, f"down_blocks.{i}.attentions.0.") for i in range(n)),
        n_middle=_layers(state, "mid_block.attentions.0."),
        n_heads=tuple(max(dim // 64, 1) if linear else 8 for dim in dims),
        text_dim=state["mid_block.attentions.0.transformer_blocks.0.attn2.to_k.weight"].shape[1],
        added_dim=None if added is None else added.shape[1],
    )


def _layers(state: State, stem: str) -> int:
    return sum(name.startswith(f"{stem}transformer_blocks.") and name.endswith(".norm1.weight") for name in state)
