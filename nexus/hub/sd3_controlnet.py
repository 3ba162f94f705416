"""ControlNets of Stable Diffusion 3 and 3.5: diffusers' folders (`SD3ControlNetModel`), and Stability's files."""

import re

from nexus.adapters.sd3_controlnet import (
    SD3ControlNet,
    SD3ControlNetConfig,
    SD35ControlNet,
    SD35ControlNetConfig,
)
from nexus.hub import mmdit
from nexus.hub.diffusers_config import refuse_others
from nexus.hub.source import Source
from nexus.hub.tensors import State, drop, join, load_strict, read_tensors, rename, tensor_names
from nexus.models.diffusion.mmdit import MMDiTConfig

_OWN = ((r"^pos_embed_input\.", "picture_in."), (r"^controlnet_blocks\.", "outs."))
_LONE = ((r"^(blocks\.\d+)\.picture\.", r"\1."),)  # blocks of one stream have the names of a block's picture
_MARKS = {"pos_embed_input.proj.weight", "controlnet_blocks.0.weight", "transformer_blocks.0.attn.qkv.weight"}
_CANNY = 1  # in `control_type`, where 0 is blur and 2 depth
_HEAD_DIM = 64


def recognise(source: Source) -> bool:
    if source.is_folder:
        return source.config.get("_class_name") == "SD3ControlNetModel"
    return tensor_names(source) >= _MARKS


def kind(source: Source) -> str:
    lone = not source.is_folder or source.config.get("joint_attention_dim") is None
    return (SD35ControlNet if lone else SD3ControlNet).__name__


def load(source: Source) -> SD3ControlNet | SD35ControlNet:
    """InstantX' (for 3 and 3.5 Medium), or Stability's (for 3.5 Large).

    Raises:
        ValueError: settings of another architecture, or tensors that do not fit.
    """
    if not source.is_folder:
        return load_file(source)
    raw = source.config
    refuse_others(raw, {"extra_conditioning_channels": 0}, source.name)  # inpainting's, which sees a mask too
    network = mmdit.read_config(raw, source.name)
    state = rename(read_tensors(source), (*mmdit.DIFFUSERS, *_OWN))
    state = mmdit.shaped(join(state, ("to_q", "to_k", "to_v"), "qkv"), network.max_patches)
    if raw.get("joint_attention_dim") is None:
        refuse_others(raw, {"use_pos_embed": False}, source.name)
        # Nothing in the folder tells the kind of pictures but its name: stable-diffusion-3.5-large-controlnet-canny.
        return _lone(state, network, "canny" in source.name.lower(), source.name)
    refuse_others(raw, {"use_pos_embed": True, "pos_embed_type": "sincos"}, source.name)
    plain = raw.get("force_zeros_for_pooled_projection", True)
    control = SD3ControlNet(SD3ControlNetConfig(network=network, plain=plain))
    load_strict(control, state, source.name)
    return control


def load_file(source: Source) -> SD35ControlNet:
    """Stability's file (`sd3.5_large_controlnet_depth.safetensors`), whose sizes are read off its tensors."""
    state = read_tensors(source)
    dim, channels, patch, _ = state["pos_embed_input.proj.weight"].shape
    network = MMDiTConfig(
        n_layers=len({match[0] for name in state if (match := re.match(r"controlnet_blocks\.\d+", name))}),
        n_heads=dim // _HEAD_DIM,
        head_dim=_HEAD_DIM,
        in_channels=channels,
        out_channels=channels,
        summary_dim=state["time_text_embed.text_embedder.linear_1.weight"].shape[1],
        patch_size=patch,
    )
    wide = "control_type" in state and int(state["control_type"]) == _CANNY
    own = rename(drop(state, r"^control_type$"), (*mmdit.ORIGINAL, *mmdit.DIFFUSERS, *_OWN))
    return _lone(mmdit.shaped(own, network.max_patches), network, wide, source.name)


def _lone(state: State, network: MMDiTConfig, wide_pictures: bool, where: str) -> SD35ControlNet:
    control = SD35ControlNet(SD35ControlNetConfig(network=network, wide_pictures=wide_pictures))
    load_strict(control, rename(state, _LONE), where)
    return control
