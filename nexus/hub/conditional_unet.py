"""Stable Diffusion's official U-Nets as diffusers stores them (`UNet2DConditionModel`)."""

import re
from typing import Any

import torch

from nexus.hub.source import Source
from nexus.hub.tensors import State, load_strict, read_tensors, rename
from nexus.models.diffusion.conditional_unet import ConditionalUNet, ConditionalUNetConfig

# Of the network, and of the ControlNets that copy its way down.
RULES = (
    (r"^time_embedding\.linear_1\.", "conditions.time.0."),
    (r"^time_embedding\.linear_2\.", "conditions.time.2."),
    (r"^time_embedding\.cond_proj\.", "conditions.guidance."),
    (r"^add_embedding\.linear_1\.", "conditions.added.0."),
    (r"^add_embedding\.linear_2\.", "conditions.added.2."),
    (r"^mid_block\.resnets\.0\.", "middle.0."),
    (r"^mid_block\.attentions\.0\.", "middle.1."),
    (r"^mid_block\.resnets\.1\.", "middle.2."),
    (r"^(down|up)_blocks\.(\d+)\.resnets\.", r"\1.\2.blocks."),
    (r"^(down|up)_blocks\.(\d+)\.attentions\.", r"\1.\2.transformers."),
    (r"^(down|up)_blocks\.(\d+)\.(down|up)samplers\.0\.", r"\1.\2.resample."),
    (r"\.time_emb_proj\.", ".time."),
    (r"\.conv_shortcut\.", ".shortcut."),
    (r"^conv_norm_out\.", "norm_out."),
    (r"\.transformer_blocks\.", ".layers."),
    (r"\.attn1\.", ".self_attention."),
    (r"\.attn2\.", ".cross_attention."),
    (r"\.to_out\.0\.", ".out."),
    (r"\.cross_attention\.to_q\.", ".cross_attention.q."),
    (r"\.ff\.net\.0\.proj\.", ".ff.widen."),
    (r"\.ff\.net\.2\.", ".ff.out."),
)
_FUSED = (
    (".self_attention.to_", "qkv", ".self_attention.qkv."),
    (".cross_attention.to_", "kv", ".cross_attention.kv."),
)
_DOWN = {"DownBlock2D": False, "CrossAttnDownBlock2D": True}
_UP = {"UpBlock2D": False, "CrossAttnUpBlock2D": True}
# Settings that our class has built in; another value is another network.
_FIXED = {
    "act_fn": "silu",
    "addition_embed_type_num_heads": 64,
    "attention_type": "default",
    "center_input_sample": False,
    "class_embed_type": None,
    "class_embeddings_concat": False,
    "conv_in_kernel": 3,
    "conv_out_kernel": 3,
    "cross_attention_norm": None,
    "downsample_padding": 1,
    "dual_cross_attention": False,
    "encoder_hid_dim": None,
    "encoder_hid_dim_type": None,
    "flip_sin_to_cos": True,
    "freq_shift": 0,
    "mid_block_scale_factor": 1,
    "mid_block_type": "UNetMidBlock2DCrossAttn",
    "num_attention_heads": None,
    "num_class_embeds": None,
    "only_cross_attention": False,
    "resnet_out_scale_factor": 1.0,
    "resnet_skip_time_act": False,
    "resnet_time_scale_shift": "default",
    "reverse_transformer_layers_per_block": None,
    "time_embedding_act_fn": None,
    "time_embedding_dim": None,
    "time_embedding_type": "positional",
    "timestep_post_act": None,
}


def load_conditional_unet(source: Source) -> ConditionalUNet:
    """The network of a folder with `config.json` and weights.

    Raises:
        ValueError: settings of another architecture, or tensors that do not fit.
    """
    network = ConditionalUNet(read_config(source.config, f"{source.name}/config.json"))
    load_strict(network, convert(rename(read_tensors(source), RULES)), source.name)
    return network


def read_config(raw: dict[str, Any], where: str) -> ConditionalUNetConfig:
    """diffusers' settings as ours; ControlNet's too, which have no way up."""
    _check(raw, where)
    down = [_DOWN[name] for name in raw["down_block_types"]]
    n = len(down)
    layers = _each(raw.get("transformer_layers_per_block", 1), n, where, "transformer_layers_per_block")
    # What is called the width of a head there is the number of heads.
    heads = _each(raw.get("attention_head_dim", 8), n, where, "attention_head_dim")
    added = raw.get("addition_embed_type") == "text_time"
    return ConditionalUNetConfig(
        in_channels=raw.get("in_channels", 4),
        out_channels=raw.get("out_channels", 4),
        dims=tuple(raw["block_out_channels"]),
        n_blocks=_same(raw.get("layers_per_block", 2), where, "layers_per_block"),
        n_layers=tuple(count if hears else 0 for count, hears in zip(layers, down, strict=True)),
        n_middle=layers[-1],
        n_heads=heads,
        text_dim=_same(raw.get("cross_attention_dim", 1280), where, "cross_attention_dim"),
        norm_groups=raw.get("norm_num_groups", 32),
        norm_eps=raw.get("norm_eps", 1e-5),
        dropout=raw.get("dropout", 0.0),
        added_dim=raw["projection_class_embeddings_input_dim"] if added else None,
        size_dim=raw.get("addition_time_embed_dim") or 256,
        guidance_dim=raw.get("time_cond_proj_dim"),
    )


def _check(raw: dict[str, Any], where: str) -> None:
    for name, value in _FIXED.items():
        if raw.get(name, value) != value:
            raise ValueError(f"{where}: {name} = {raw[name]!r} is another architecture; known is {value!r}")
    if raw.get("addition_embed_type") not in (None, "text_time"):
        raise ValueError(f"{where}: addition_embed_type = {raw['addition_embed_type']!r} is not known; text_time is")
    up = raw.get("up_block_types", [])
    unknown = [name for name in raw["down_block_types"] if name not in _DOWN] + [n for n in up if n not in _UP]
    if unknown:
        raise ValueError(f"{where}: blocks of kind {unknown[0]} are not known; known are {', '.join(_DOWN | _UP)}")
    if up and [_UP[name] for name in reversed(up)] != [_DOWN[name] for name in raw["down_block_types"]]:
        raise ValueError(f"{where}: attention on the way up differs from that on the way down; they must mirror")


def _each(value: Any, n: int, where: str, name: str) -> tuple[int, ...]:
    """One whole number for each size."""
    values = [value] * n if isinstance(value, int) else list(value)
    if len(values) != n or not all(isinstance(v, int) for v in values):
        raise ValueError(f"{where}: {name} must be one number, or one for each of {n} sizes, got {value}")
    return tuple(values)


def _same(value: Any, where: str, name: str) -> int:
    """A number that may be written once for each size."""
    values = {value} if isinstance(value, int) else set(value)
    if len(values) != 1:
        raise ValueError(f"{where}: {name} must be the same at every size, got {value}")
    return values.pop()


def convert(state: State) -> State:
    """Projections of 1x1 convolutions become linear; those that read the same features are put into one."""
    converted = {name: _linear(name, tensor) for name, tensor in state.items()}
    for name in state:
        for stem, parts, fused in _FUSED:
            if match := re.match(rf"(.*){re.escape(stem)}{parts[0]}\.(weight|bias)$", name):
                pieces = [f"{match[1]}{stem}{part}.{match[2]}" for part in parts]
                if all(piece in converted for piece in pieces):
                    joined = torch.cat([converted.pop(piece) for piece in pieces])
                    converted[f"{match[1]}{fused}{match[2]}"] = joined
    return converted


def _linear(name: str, tensor: torch.Tensor) -> torch.Tensor:
    return tensor[:, :, 0, 0] if name.endswith(("proj_in.weight", "proj_out.weight")) and tensor.ndim == 4 else tensor
