"""Official U-Nets as diffusers stores them (`UNet2DModel`), the older names of their attentions too."""

import re
from typing import Any

import torch

from nexus.hub.source import Source
from nexus.hub.tensors import State, load_strict, read_tensors, rename
from nexus.models.diffusion.unet import UNet, UNetConfig

_ATTENTION = r"(mid_block|down_blocks\.\d+|up_blocks\.\d+)\.attentions\.(\d+)\."
_RULES = (
    # As they were called before diffusers 0.15.
    (rf"^{_ATTENTION}query\.", r"\1.attentions.\2.to_q."),
    (rf"^{_ATTENTION}key\.", r"\1.attentions.\2.to_k."),
    (rf"^{_ATTENTION}value\.", r"\1.attentions.\2.to_v."),
    (rf"^{_ATTENTION}proj_attn\.", r"\1.attentions.\2.to_out.0."),
    (r"^time_embedding\.linear_1\.", "time_embed.0."),
    (r"^time_embedding\.linear_2\.", "time_embed.2."),
    (r"^class_embedding\.", "class_embed."),
    (r"^mid_block\.resnets\.0\.", "middle.0."),
    (r"^mid_block\.attentions\.0\.", "middle.1."),
    (r"^mid_block\.resnets\.1\.", "middle.2."),
    (r"^(down|up)_blocks\.(\d+)\.resnets\.", r"\1.\2.blocks."),
    (r"^(down|up)_blocks\.(\d+)\.attentions\.", r"\1.\2.attentions."),
    (r"^(down|up)_blocks\.(\d+)\.(down|up)samplers\.0\.", r"\1.\2.resample."),
    (r"\.time_emb_proj\.", ".time."),
    (r"\.conv_shortcut\.", ".shortcut."),
    (r"\.group_norm\.", ".norm."),
    (r"\.to_out\.0\.", ".out."),
    (r"^conv_norm_out\.", "norm_out."),
)
_KINDS = {"DownBlock2D": (False, False), "AttnDownBlock2D": (True, False), "ResnetDownsampleBlock2D": (False, True)}
_KINDS |= {"UpBlock2D": (False, False), "AttnUpBlock2D": (True, False), "ResnetUpsampleBlock2D": (False, True)}
# Settings that our class has built in; another value is another network.
_FIXED = {
    "act_fn": "silu",
    "center_input_sample": False,
    "time_embedding_type": "positional",
    "mid_block_scale_factor": 1,
    "add_attention": True,
    "class_embed_type": None,
    "time_embedding_dim": None,
    "mid_block_type": "UNetMidBlock2D",
}


def load_unet(source: Source) -> UNet:
    """The network of a folder with `config.json` and weights.

    Raises:
        ValueError: settings of another architecture, or tensors that do not fit.
    """
    network = UNet(read_config(source))
    load_strict(network, fuse(rename(read_tensors(source), _RULES)), source.name)
    return network


def read_config(source: Source) -> UNetConfig:
    raw: dict[str, Any] = source.config
    where = f"{source.name}/config.json"
    for name, value in _FIXED.items():
        if raw.get(name, value) != value:
            raise ValueError(f"{where}: {name} = {raw[name]!r} is another architecture; known is {value!r}")
    unknown = [name for name in (*raw["down_block_types"], *raw["up_block_types"]) if name not in _KINDS]
    if unknown:
        raise ValueError(f"{where}: blocks of kind {unknown[0]} are not known; known are {', '.join(_KINDS)}")
    down = [_KINDS[name] for name in raw["down_block_types"]]
    up = [_KINDS[name] for name in reversed(raw["up_block_types"])]
    attention, in_blocks = ([kind[i] for kind in down] for i in (0, 1))
    by_blocks = raw.get("downsample_type", "conv") == "resnet" or any(in_blocks)
    if [kind[0] for kind in up] != attention:
        raise ValueError(f"{where}: attention on the way up differs from that on the way down; they must mirror")
    if any(in_blocks) and not all(in_blocks[i] or attention[i] for i in range(len(down) - 1)):
        raise ValueError(f"{where}: some sizes are halved by convolutions and some in blocks; all must be alike")
    scales = raw.get("resnet_time_scale_shift", "default") == "scale_shift"
    groups = raw.get("norm_num_groups", 32)
    if scales and raw.get("attn_norm_num_groups") != groups:
        raise ValueError(f"{where}: attn_norm_num_groups must be norm_num_groups {groups} beside scale_shift")
    return UNetConfig(
        in_channels=raw["in_channels"],
        out_channels=raw["out_channels"],
        dims=tuple(raw["block_out_channels"]),
        n_blocks=raw["layers_per_block"],
        attention=tuple(attention),
        head_dim=raw.get("attention_head_dim", 8),
        norm_groups=groups,
        norm_eps=raw.get("norm_eps", 1e-5),
        dropout=raw.get("dropout", 0.0),
        n_classes=raw.get("num_class_embeds"),
        time_order="cos_sin" if raw.get("flip_sin_to_cos", True) else "sin_cos",
        time_shift=float(raw.get("freq_shift", 0)),
        time_scales=scales,
        resample="block" if by_blocks else "conv",
        pad_end=raw.get("downsample_padding", 1) == 0,
    )


def fuse(state: State) -> State:
    """Puts the query, key and value projections of each attention into one."""
    fused = dict(state)
    for name in state:
        if match := re.match(r"(.*\.)to_q\.(weight|bias)$", name):
            parts = [f"{match[1]}to_{part}.{match[2]}" for part in "qkv"]
            if all(part in fused for part in parts):
                fused[f"{match[1]}qkv.{match[2]}"] = torch.cat([fused.pop(part) for part in parts])
    return fused
