"""FLUX.1's official networks, in Black Forest Labs' file and in diffusers' folder."""

import re
from collections.abc import Mapping
from typing import Any

from nexus.hub.diffusers_config import refuse_others
from nexus.hub.joint import JOINT
from nexus.hub.source import Source
from nexus.hub.tensors import State, join, load_strict, read_tensors, rename, swap_halves
from nexus.models.diffusion.flux_transformer import FluxTransformer, FluxTransformerConfig

DIFFUSERS = (
    (r"^x_embedder\.", "patches_in.proj."),
    (r"^time_text_embed\.guidance_embedder\.linear_1\.", "guidance_embed.mlp.0."),
    (r"^time_text_embed\.guidance_embedder\.linear_2\.", "guidance_embed.mlp.2."),
    (r"^single_transformer_blocks\.(\d+)\.norm\.linear\.", r"single_blocks.\1.modulation.linear."),
    (r"^single_transformer_blocks\.(\d+)\.attn\.norm_(q|k)\.", r"single_blocks.\1.\2_norm."),
    (r"^single_transformer_blocks\.(\d+)\.attn\.to_(q|k|v)\.", r"single_blocks.\1.alone_\2."),
    (r"^single_transformer_blocks\.(\d+)\.proj_mlp\.", r"single_blocks.\1.alone_ff."),
    (r"^single_transformer_blocks\.(\d+)\.proj_out\.", r"single_blocks.\1.wide_out."),
    (r"^transformer_blocks\.", "double_blocks."),
    *JOINT,
)
ORIGINAL = (
    (r"^img_in\.", "patches_in.proj."),
    (r"^txt_in\.", "text_in."),
    (r"^(time|guidance)_in\.in_layer\.", r"\1_embed.mlp.0."),
    (r"^(time|guidance)_in\.out_layer\.", r"\1_embed.mlp.2."),
    (r"^vector_in\.in_layer\.", "summary_embed.0."),
    (r"^vector_in\.out_layer\.", "summary_embed.2."),
    (r"\.img_(mod|attn|mlp)\.", r".picture.\1."),
    (r"\.txt_(mod|attn|mlp)\.", r".text.\1."),
    (r"\.(mod|modulation)\.lin\.", ".modulation.linear."),
    (r"\.attn\.qkv\.", ".heads.qkv."),
    (r"\.attn\.proj\.", ".out."),
    (r"\.attn\.norm\.(query|key)_norm\.scale$", r".heads.\1_norm.weight"),
    (r"\.norm\.(query|key)_norm\.scale$", r".\1_norm.weight"),
    (r"\.query_norm\.", ".q_norm."),
    (r"\.key_norm\.", ".k_norm."),
    (r"(picture|text)\.mlp\.", r"\1.ff."),
    (r"\.linear1\.", ".wide_in."),
    (r"\.linear2\.", ".wide_out."),
    (r"^final_layer\.adaLN_modulation\.1\.", "norm_out.modulation.linear."),
    (r"^final_layer\.linear\.", "proj_out."),
)


def is_original(names: State | set[str]) -> bool:
    """Whether tensors of these names are Black Forest Labs' FLUX."""
    return {"img_in.weight", "double_blocks.0.img_attn.qkv.weight", "single_blocks.0.linear1.weight"} <= set(names)


def load_folder(source: Source) -> FluxTransformer:
    """The network of diffusers' folder with `config.json` and weights.

    Raises:
        ValueError: settings of another architecture, or tensors that do not fit.
    """
    network = FluxTransformer(read_config(source.config, source.name))
    # Theirs scale before they shift at the output.
    state = fuse(rename(read_tensors(source), DIFFUSERS))
    state = {name: swap_halves(t) if name.startswith("norm_out.") else t for name, t in state.items()}
    load_strict(network, state, source.name)
    return network


def read_config(raw: Mapping[str, Any], where: str) -> FluxTransformerConfig:
    """Sizes of a transformer, or of a ControlNet that copies its blocks."""
    channels = raw["in_channels"] // 4
    refuse_others(raw, {"patch_size": 1}, where)
    out_channels = raw.get("out_channels") or raw["in_channels"]
    if out_channels != raw["in_channels"]:
        raise ValueError(
            f"{where}/config.json: {raw['in_channels']} channels in and {out_channels} out: a FLUX that is given "
            "more than text (Fill, Canny, Depth?); known are dev and schnell"
        )
    return FluxTransformerConfig(
        n_double_layers=raw["num_layers"],
        n_single_layers=raw["num_single_layers"],
        n_heads=raw["num_attention_heads"],
        head_dim=raw["attention_head_dim"],
        in_channels=channels,
        out_channels=channels,
        text_dim=raw["joint_attention_dim"],
        summary_dim=raw["pooled_projection_dim"],
        rope_dims=tuple(raw.get("axes_dims_rope", (16, 56, 56))),
        guidance=raw["guidance_embeds"],
    )


def fuse(state: State) -> State:
    """One layer for what reads the same: queries, keys and values, and in single blocks the feed-forward."""
    return join(join(state, ("to_q", "to_k", "to_v"), "qkv"), ("alone_q", "alone_k", "alone_v", "alone_ff"), "wide_in")


def load_original(state: State, where: str) -> FluxTransformer:
    """The network of Black Forest Labs' file (`flux1-dev.safetensors`), whose sizes are read off its tensors."""
    network = FluxTransformer(read_sizes(state, where))
    load_strict(network, rename(state, ORIGINAL), where)
    return network


def read_sizes(state: State, where: str) -> FluxTransformerConfig:
    """The configuration that tensors of these names and shapes belong to, a ControlNet's too."""
    dim, patch_dim = state["img_in.weight"].shape
    out_dim = len(state.get("final_layer.linear.bias", state["img_in.weight"].T))
    head_dim = len(state["double_blocks.0.img_attn.norm.query_norm.scale"])
    if patch_dim != out_dim:
        raise ValueError(f"{where}: {patch_dim} values a patch in and {out_dim} out; known are FLUX.1 dev and schnell")
    if head_dim % 32:
        raise ValueError(f"{where}: heads of {head_dim} channels do not divide as FLUX' do, into 1/8, 7/16 and 7/16")
    side = head_dim * 7 // 16

    def depth(kind: str) -> int:
        return len({match[1] for name in state if (match := re.match(rf"{kind}_blocks\.(\d+)\.", name))})

    return FluxTransformerConfig(
        n_double_layers=depth("double"),
        n_single_layers=depth("single"),
        n_heads=dim // head_dim,
        head_dim=head_dim,
        in_channels=patch_dim // 4,
        out_channels=out_dim // 4,
        text_dim=state["txt_in.weight"].shape[1],
        summary_dim=state["vector_in.in_layer.weight"].shape[1],
        rope_dims=(head_dim - 2 * side, side, side),
        guidance="guidance_in.in_layer.weight" in state,
    )
