"""Stable Diffusion 3's official networks, in Stability's file and in diffusers' folder."""

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from nexus.hub.diffusers_config import refuse_others
from nexus.hub.joint import JOINT
from nexus.hub.source import Source
from nexus.hub.tensors import State, join, load_strict, read_tensors, rename, swap_halves
from nexus.models.diffusion.mmdit import MMDiT, MMDiTConfig

DIFFUSERS = (
    (r"^pos_embed\.pos_embed$", "positions"),
    (r"^pos_embed\.proj\.", "patches_in.proj."),
    (r"^transformer_blocks\.", "blocks."),
    (r"\.attn2\.to_out\.0\.", ".picture.self_attn.out."),
    (r"\.attn2\.norm_(q|k)\.", r".picture.self_attn.heads.\1_norm."),
    (r"\.attn2\.", ".picture.self_attn.heads."),
    *JOINT,
)
ORIGINAL = (
    (r"^pos_embed$", "positions"),
    (r"^x_embedder\.", "patches_in."),
    (r"^t_embedder\.", "time_embed."),
    (r"^y_embedder\.mlp\.", "summary_embed."),
    (r"^context_embedder\.", "text_in."),
    (r"^joint_blocks\.", "blocks."),
    (r"\.x_block\.", ".picture."),
    (r"\.context_block\.", ".text."),
    (r"\.attn2\.proj\.", ".self_attn.out."),
    (r"\.attn2\.qkv\.", ".self_attn.heads.qkv."),
    (r"\.attn2\.ln_(q|k)\.", r".self_attn.heads.\1_norm."),
    (r"\.attn\.proj\.", ".out."),
    (r"\.attn\.qkv\.", ".heads.qkv."),
    (r"\.attn\.ln_(q|k)\.", r".heads.\1_norm."),
    (r"\.mlp\.fc1\.", ".ff.0."),
    (r"\.mlp\.fc2\.", ".ff.2."),
    (r"adaLN_modulation\.1\.", "modulation.linear."),
    (r"^final_layer\.modulation\.", "norm_out.modulation."),
    (r"^final_layer\.linear\.", "proj_out."),
)


def is_original(names: State | set[str]) -> bool:
    """Whether tensors of these names are Stability's MM-DiT."""
    return {"x_embedder.proj.weight", "pos_embed", "joint_blocks.0.x_block.attn.qkv.weight"} <= set(names)


def load_folder(source: Source) -> MMDiT:
    """The network of diffusers' folder with `config.json` and weights.

    Raises:
        ValueError: settings of another architecture, or tensors that do not fit.
    """
    config = read_config(source.config, source.name)
    refuse_others(source.config, {"out_channels": config.in_channels}, source.name)
    network = MMDiT(config)
    state = join(rename(read_tensors(source), DIFFUSERS), ("to_q", "to_k", "to_v"), "qkv")
    # Theirs scale before they shift where only two vectors modulate: at the output, and of text in the last block.
    swapped = ("norm_out.", f"blocks.{config.n_layers - 1}.text.modulation.")
    state = {name: swap_halves(t) if name.startswith(swapped) else t for name, t in state.items()}
    load_strict(network, shaped(state, config.max_patches), source.name)
    return network


def read_config(raw: Mapping[str, Any], where: str) -> MMDiTConfig:
    """Sizes of a transformer, or of a ControlNet that copies its blocks."""
    dual = sorted(raw.get("dual_attention_layers") or ())
    if raw.get("joint_attention_dim") is not None:
        dim = raw["num_attention_heads"] * raw["attention_head_dim"]
        refuse_others(raw, {"caption_projection_dim": dim}, where)
    if dual != list(range(len(dual))):
        raise ValueError(f"{where}/config.json: dual_attention_layers must be the first ones, got {dual}")
    if raw.get("qk_norm") not in (None, "rms_norm"):
        raise ValueError(f"{where}/config.json: qk_norm = {raw['qk_norm']!r}; known are null and 'rms_norm'")
    return MMDiTConfig(
        n_layers=raw["num_layers"],
        n_heads=raw["num_attention_heads"],
        head_dim=raw["attention_head_dim"],
        in_channels=raw["in_channels"],
        out_channels=raw["in_channels"],
        text_dim=raw.get("joint_attention_dim") or MMDiTConfig.text_dim,
        summary_dim=raw["pooled_projection_dim"],
        patch_size=raw["patch_size"],
        sample_size=raw["sample_size"],
        max_patches=raw.get("pos_embed_max_size") or MMDiTConfig.max_patches,
        qk_norm=raw.get("qk_norm") == "rms_norm",
        n_dual_layers=len(dual),
    )


def load_original(state: State, where: str) -> MMDiT:
    """The network of Stability's file, without its prefix; sizes are read off its tensors."""
    config = read_sizes(state)
    network = MMDiT(config)
    load_strict(network, shaped(rename(state, ORIGINAL), config.max_patches), where)
    return network


def read_sizes(state: State) -> MMDiTConfig:
    """The configuration that tensors of these names and shapes belong to."""
    dim, channels, patch, _ = state["x_embedder.proj.weight"].shape
    blocks = {int(match[1]) for name in state if (match := re.match(r"joint_blocks\.(\d+)\.", name))}
    norm = state.get("joint_blocks.0.x_block.attn.ln_q.weight")
    head_dim = 64 if norm is None else len(norm)
    return MMDiTConfig(
        n_layers=len(blocks),
        n_heads=dim // head_dim,
        head_dim=head_dim,
        in_channels=channels,
        out_channels=len(state["final_layer.linear.bias"]) // patch**2,
        text_dim=state["context_embedder.weight"].shape[1],
        summary_dim=state["y_embedder.mlp.0.weight"].shape[1],
        patch_size=patch,
        max_patches=round(state["pos_embed"].shape[1] ** 0.5),
        qk_norm=norm is not None,
        n_dual_layers=sum(f"joint_blocks.{i}.x_block.attn2.qkv.weight" in state for i in blocks),
    )


def shaped(state: State, most: int) -> State:
    """Convolutions over patches as the layers that they are, positions as a square."""

    def shaped(name: str, tensor: Tensor) -> Tensor:
        if name == "positions" and tensor.shape[:2] == (1, most * most):
            return tensor.reshape(most, most, -1)
        return tensor.flatten(1) if name in ("patches_in.proj.weight", "picture_in.proj.weight") else tensor

    return {name: shaped(name, tensor) for name, tensor in state.items()}
