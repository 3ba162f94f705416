"""PixArt's ControlNets: a folder of diffusers' example (`PixArtControlNetAdapterModel`), and the authors' file."""

import re

from nexus.adapters.pixart_controlnet import PixArtControlNet, PixArtControlNetConfig
from nexus.hub import pixart
from nexus.hub.source import Source
from nexus.hub.tensors import drop, load_strict, read_tensors, rename, tensor_names
from nexus.models.diffusion.pixart_transformer import PixArtTransformerConfig

_DIFFUSERS = (
    (r"^controlnet_blocks\.0\.before_proj\.", "picture_in."),
    (r"^controlnet_blocks\.(\d+)\.after_proj\.", r"outs.\1."),
    (r"^controlnet_blocks\.(\d+)\.transformer_block\.", r"transformer_blocks.\1."),
    *pixart.TRANSFORMER,
)
_ORIGINAL = (
    (r"^controlnet\.0\.before_proj\.", "picture_in."),
    (r"^controlnet\.(\d+)\.after_proj\.", r"outs.\1."),
    (r"^controlnet\.(\d+)\.copied_block\.", r"blocks.\1."),
    (r"\.cross_attn\.q_linear\.", ".text_attn.q."),
    (r"\.cross_attn\.kv_linear\.", ".text_attn.kv."),
    (r"\.cross_attn\.proj\.", ".text_attn.out."),
    (r"\.attn\.proj\.", ".attn.out."),
    (r"\.mlp\.fc1\.", ".ff.0."),
    (r"\.mlp\.fc2\.", ".ff.2."),
    (r"\.scale_shift_table$", ".table"),
)
_MARKS = {"controlnet.0.before_proj.weight", "controlnet.0.copied_block.attn.qkv.weight"}
_HEAD_DIM = 72  # of all PixArts, which no tensor tells


def recognise(source: Source) -> bool:
    if source.is_folder:
        return source.config.get("_class_name") == "PixArtControlNetAdapterModel"
    return tensor_names(source) >= _MARKS


def kind(source: Source) -> str:
    return PixArtControlNet.__name__


def load(source: Source) -> PixArtControlNet:
    """Its copies of blocks; the authors' file holds the base beside them, which is left out.

    Raises:
        ValueError: tensors that do not fit.
    """
    state = read_tensors(source)
    if source.is_folder:
        state = pixart.fuse(rename(state, _DIFFUSERS))
    else:
        state = rename(drop(state, r"^base_model\."), _ORIGINAL)
    numbers = {int(match[1]) for name in state if (match := re.match(r"blocks\.(\d+)\.", name))}
    if "picture_in.weight" not in state or not numbers:
        raise ValueError(f"{source.name}: no ControlNet of PixArt, it has no blocks and no layer for the picture")
    network = PixArtTransformerConfig(
        n_layers=1 + max(numbers), n_heads=len(state["picture_in.weight"]) // _HEAD_DIM, head_dim=_HEAD_DIM
    )
    control = PixArtControlNet(PixArtControlNetConfig(network=network))
    load_strict(control, state, source.name)
    return control
