"""Stable Diffusion's U-Net under the names it was first published with (`input_blocks.4.1.proj_in`), in diffusers'.

Single-file checkpoints and ControlNets have them with dots, kohya's LoRAs for XL with underscores.
"""

import re

_OUTSIDE = {
    r"time_embed\.0": "time_embedding.linear_1",
    r"time_embed\.2": "time_embedding.linear_2",
    r"label_emb\.0\.0": "add_embedding.linear_1",
    r"label_emb\.0\.2": "add_embedding.linear_2",
    r"input_blocks\.0\.0": "conv_in",
    r"out\.0": "conv_norm_out",
    r"out\.2": "conv_out",
}
_IN_BLOCKS = {
    r"in_layers\.0": "norm1",
    r"in_layers\.2": "conv1",
    r"emb_layers\.1": "time_emb_proj",
    r"out_layers\.0": "norm2",
    r"out_layers\.3": "conv2",
    r"skip_connection": "conv_shortcut",
}
_MIDDLE = {"0": "mid_block.resnets.0.", "1": "mid_block.attentions.0.", "2": "mid_block.resnets.1."}


def to_diffusers(name: str, n_blocks: int = 2) -> str:
    """diffusers' name of a layer or a tensor of the U-Net; other names stay. All official ones have 2 blocks a size."""
    for pattern, new in _OUTSIDE.items():
        if match := _match(pattern, name):
            return new + name[match.end() :]
    if match := _match(r"middle_block\.([012])\.", name):
        return _MIDDLE[match[1]] + _inside(name[match.end() :])
    if match := _match(r"input_blocks\.(\d+)\.([01])\.", name):
        size, i = divmod(int(match[1]) - 1, n_blocks + 1)
        rest = name[match.end() :]
        if rest.startswith("op"):
            return f"down_blocks.{size}.downsamplers.0.conv{rest[2:]}"
        return f"down_blocks.{size}.{'attentions' if match[2] == '1' else 'resnets'}.{i}.{_inside(rest)}"
    if match := _match(r"output_blocks\.(\d+)\.([012])\.", name):
        size, i = divmod(int(match[1]), n_blocks + 1)
        rest = name[match.end() :]
        if match[2] != "0" and rest.startswith("conv"):
            return f"up_blocks.{size}.upsamplers.0.{rest}"
        return f"up_blocks.{size}.{'attentions' if match[2] == '1' else 'resnets'}.{i}.{_inside(rest)}"
    return name


def _inside(rest: str) -> str:
    for pattern, new in _IN_BLOCKS.items():
        if match := _match(pattern, rest):
            return new + rest[match.end() :]
    return rest


def _match(pattern: str, name: str) -> re.Match[str] | None:
    """At the start, whole parts only, dots or underscores between them."""
    whole = "" if pattern.endswith(r"\.") else r"(?![0-9a-z])"
    return re.match(pattern.replace(r"\.", "[._]") + whole, name)
