"""How other projects call the layers of our networks, so that a LoRA of theirs finds its place in ours.

Our networks hold some of their layers in one (`qkv`), so a place is a layer and some of its rows.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from torch import nn


@dataclass(frozen=True)
class Place:
    """Rows of one of our layers."""

    layer: str
    first_row: int
    stop_row: int


Places = dict[str, Place]  # by the reference's name of the layer, dotted
Rule = tuple[str, str]

# Our layers that hold several of the reference's, one below the other, and how many shares of the rows each has.
_QKV = (("to_q", 1), ("to_k", 1), ("to_v", 1))
_FUSED = {"qkv": _QKV, "kv": _QKV[1:], "wide_in": (*_QKV, ("proj_mlp", 4))}

_UNET: tuple[Rule, ...] = (
    (r"^conditions\.time\.0$", "time_embedding.linear_1"),
    (r"^conditions\.time\.2$", "time_embedding.linear_2"),
    (r"^conditions\.guidance$", "time_embedding.cond_proj"),
    (r"^conditions\.added\.0$", "add_embedding.linear_1"),
    (r"^conditions\.added\.2$", "add_embedding.linear_2"),
    (r"^middle\.0\.", "mid_block.resnets.0."),
    (r"^middle\.1\.", "mid_block.attentions.0."),
    (r"^middle\.2\.", "mid_block.resnets.1."),
    (r"^(down|up)\.(\d+)\.resample\.", r"\1_blocks.\2.\1samplers.0."),
    (r"^(down|up)\.(\d+)\.blocks\.", r"\1_blocks.\2.resnets."),
    (r"^(down|up)\.(\d+)\.transformers\.", r"\1_blocks.\2.attentions."),
    (r"\.time$", ".time_emb_proj"),
    (r"\.shortcut$", ".conv_shortcut"),
    (r"\.layers\.", ".transformer_blocks."),
    (r"\.ff\.widen$", ".ff.net.0.proj"),
    (r"\.ff\.out$", ".ff.net.2"),
    (r"\.self_attention\.", ".attn1."),
    (r"\.cross_attention\.", ".attn2."),
    (r"\.q$", ".to_q"),
    (r"\.out$", ".to_out.0"),
)
_COGVIDEOX: tuple[Rule, ...] = (
    (r"^network\.", ""),
    (r"^video_in$", "patch_embed.proj"),
    (r"^text_in$", "patch_embed.text_proj"),
    (r"^time_embed\.0$", "time_embedding.linear_1"),
    (r"^time_embed\.2$", "time_embedding.linear_2"),
    (r"^blocks\.", "transformer_blocks."),
    (r"\.attn\.out$", ".attn1.to_out.0"),
    (r"\.attn\.", ".attn1."),
    (r"\.ff\.0$", ".ff.net.0.proj"),
    (r"\.ff\.2$", ".ff.net.2"),
    (r"\.modulation$", ".linear"),
)
_TRANSFORMER: tuple[Rule, ...] = (  # what diffusers' transformers share
    (r"^text_in$", "context_embedder"),
    (r"^(time|guidance)_embed\.mlp\.0$", r"time_text_embed.\1_embedder.linear_1"),
    (r"^(time|guidance)_embed\.mlp\.2$", r"time_text_embed.\1_embedder.linear_2"),
    (r"\.time_embedder\.", ".timestep_embedder."),
    (r"^summary_embed\.0$", "time_text_embed.text_embedder.linear_1"),
    (r"^summary_embed\.2$", "time_text_embed.text_embedder.linear_2"),
    (r"\.picture\.modulation\.linear$", ".norm1.linear"),
    (r"\.text\.modulation\.linear$", ".norm1_context.linear"),
    (r"\.picture\.self_attn\.heads\.", ".attn2."),
    (r"\.picture\.self_attn\.out$", ".attn2.to_out.0"),
    (r"\.picture\.heads\.", ".attn."),
    (r"\.text\.heads\.to_(q|k|v)$", r".attn.add_\1_proj"),
    (r"\.picture\.out$", ".attn.to_out.0"),
    (r"\.text\.out$", ".attn.to_add_out"),
    (r"\.picture\.ff\.0$", ".ff.net.0.proj"),
    (r"\.picture\.ff\.2$", ".ff.net.2"),
    (r"\.text\.ff\.0$", ".ff_context.net.0.proj"),
    (r"\.text\.ff\.2$", ".ff_context.net.2"),
)
_MMDIT = ((r"^patches_in\.proj$", "pos_embed.proj"), (r"^blocks\.", "transformer_blocks."), *_TRANSFORMER)
_FLUX = (
    (r"^patches_in\.proj$", "x_embedder"),
    (r"^single_blocks\.(\d+)\.to_(q|k|v)$", r"single_transformer_blocks.\1.attn.to_\2"),
    (r"^single_blocks\.(\d+)\.proj_mlp$", r"single_transformer_blocks.\1.proj_mlp"),
    (r"^single_blocks\.(\d+)\.wide_out$", r"single_transformer_blocks.\1.proj_out"),
    (r"^single_blocks\.(\d+)\.modulation\.linear$", r"single_transformer_blocks.\1.norm.linear"),
    (r"^double_blocks\.", "transformer_blocks."),
    *_TRANSFORMER,
)
_PIXART: tuple[Rule, ...] = (
    (r"^patches_in\.proj$", "pos_embed.proj"),
    (r"^text_in\.0$", "caption_projection.linear_1"),
    (r"^text_in\.2$", "caption_projection.linear_2"),
    (r"^time_embed\.mlp\.0$", "adaln_single.emb.timestep_embedder.linear_1"),
    (r"^time_embed\.mlp\.2$", "adaln_single.emb.timestep_embedder.linear_2"),
    (r"^size_embed\.mlp\.0$", "adaln_single.emb.resolution_embedder.linear_1"),
    (r"^size_embed\.mlp\.2$", "adaln_single.emb.resolution_embedder.linear_2"),
    (r"^aspect_embed\.mlp\.0$", "adaln_single.emb.aspect_ratio_embedder.linear_1"),
    (r"^aspect_embed\.mlp\.2$", "adaln_single.emb.aspect_ratio_embedder.linear_2"),
    (r"^modulation$", "adaln_single.linear"),
    (r"^blocks\.", "transformer_blocks."),
    (r"\.text_attn\.q$", ".attn2.to_q"),
    (r"\.text_attn\.out$", ".attn2.to_out.0"),
    (r"\.text_attn\.", ".attn2."),
    (r"\.attn\.out$", ".attn1.to_out.0"),
    (r"\.attn\.", ".attn1."),
    (r"\.ff\.0$", ".ff.net.0.proj"),
    (r"\.ff\.2$", ".ff.net.2"),
)
# For each class of networks: the reference's prefix in files, and ours to its names, in order.
_NAMES: dict[str, tuple[str, tuple[Rule, ...]]] = {
    "ConditionalUNet": ("unet", _UNET),
    "CogVideoX": ("transformer", _COGVIDEOX),
    "Transformer": ("transformer", _COGVIDEOX),
    "MMDiT": ("transformer", _MMDIT),
    "FluxTransformer": ("transformer", _FLUX),
    "PixArtTransformer": ("transformer", _PIXART),
    "CLIPTextModel": ("text_encoder", ((r"^(?!text_model\.)", "text_model."),)),
    "CLIPTextModelWithProjection": ("text_encoder", ()),
}
# Names of the first publications where those are not diffusers', ours to theirs; their layers are ours.
_ORIGINAL_JOINT: tuple[Rule, ...] = (
    (r"\.heads\.qkv$", ".attn.qkv"),
    (r"(picture|text)\.out$", r"\1.attn.proj"),
)
_ORIGINALS: dict[str, tuple[Rule, ...]] = {
    "MMDiT": (
        (r"\.self_attn\.heads\.qkv$", ".attn2.qkv"),
        (r"\.self_attn\.out$", ".attn2.proj"),
        *_ORIGINAL_JOINT,
        (r"\.ff\.0$", ".mlp.fc1"),
        (r"\.ff\.2$", ".mlp.fc2"),
        (r"^norm_out\.modulation\.linear$", "final_layer.adaLN_modulation.1"),
        (r"\.modulation\.linear$", ".adaLN_modulation.1"),
        (r"^blocks\.", "joint_blocks."),
        (r"\.picture\.", ".x_block."),
        (r"\.text\.", ".context_block."),
        (r"^patches_in\.proj$", "x_embedder.proj"),
        (r"^text_in$", "context_embedder"),
        (r"^time_embed\.", "t_embedder."),
        (r"^summary_embed\.", "y_embedder.mlp."),
        (r"^proj_out$", "final_layer.linear"),
    ),
    "FluxTransformer": (
        *_ORIGINAL_JOINT,
        (r"\.ff\.", ".mlp."),
        (r"(picture|text)\.modulation\.linear$", r"\1.mod.lin"),
        (r"\.modulation\.linear$", ".modulation.lin"),
        (r"\.wide_in$", ".linear1"),
        (r"\.wide_out$", ".linear2"),
        (r"\.picture\.", ".img_"),
        (r"\.text\.", ".txt_"),
        (r"^patches_in\.proj$", "img_in"),
        (r"^text_in$", "txt_in"),
        (r"^(time|guidance)_embed\.mlp\.0$", r"\1_in.in_layer"),
        (r"^(time|guidance)_embed\.mlp\.2$", r"\1_in.out_layer"),
        (r"^summary_embed\.0$", "vector_in.in_layer"),
        (r"^summary_embed\.2$", "vector_in.out_layer"),
        (r"^norm_out\.modulation\.lin$", "final_layer.adaLN_modulation.1"),
        (r"^proj_out$", "final_layer.linear"),
    ),
}


def prefix(network: nn.Module) -> str | None:
    """What files put before the names of this network's layers; None where no other project knows it."""
    return _NAMES.get(type(network).__name__, (None,))[0]


def places(network: nn.Module) -> Places:
    """Where each layer of the reference is in ours, in our order; a network without a table keeps its names."""
    _, rules = _NAMES.get(type(network).__name__, (None, None))
    return {name: place for ours, layer in _layers(network) for name, place in _named(ours, layer, rules)}


def lookup(network: nn.Module) -> Places:
    """Places by every spelling that files have: the reference's names, the first ones and ours; dots as underscores."""
    found: Places = {}
    for ours, layer in _layers(network):
        original = _renamed(ours, _ORIGINALS.get(type(network).__name__, ()))
        found |= dict.fromkeys((ours, original), Place(ours, 0, len(layer.weight)))
        if original.endswith(".linear1"):  # of which XLabs' LoRAs concern the first rows
            found[f"{original.removesuffix('linear1')}qkv"] = Place(ours, 0, 3 * layer.weight.shape[1])
    found |= places(network)
    return {spelled.replace(".", "_"): place for name, place in found.items() for spelled in _spellings(name)}


def _layers(network: nn.Module) -> Iterator[tuple[str, nn.Linear | nn.Conv2d]]:
    for name, layer in network.named_modules():
        if isinstance(layer, nn.Linear | nn.Conv2d):
            yield name, layer


def _named(ours: str, layer: nn.Linear | nn.Conv2d, rules: tuple[Rule, ...] | None) -> Iterator[tuple[str, Place]]:
    stem, dot, last = ours.rpartition(".")
    n_rows, start = len(layer.weight), 0
    if rules and ours.endswith("modulation.linear") and n_rows == 2 * layer.weight.shape[1]:
        return  # scale and shift stand the other way round in diffusers
    parts = _FUSED.get(last, ((last, 1),)) if rules is not None else ((last, 1),)
    whole = sum(share for _, share in parts)
    for part, share in parts:
        stop = start + n_rows * share // whole
        yield _renamed(f"{stem}{dot}{part}", rules or ()), Place(ours, start, stop)
        start = stop


def _renamed(name: str, rules: tuple[Rule, ...]) -> str:
    for pattern, new in rules:
        name = re.sub(pattern, new, name)
    return name


def _spellings(name: str) -> set[str]:
    """Text encoders with and without their outer module, their projections also as old processors had them."""
    names = {name, name.removeprefix("text_model.")}
    for new, old in (("q_proj", "to_q"), ("k_proj", "to_k"), ("v_proj", "to_v"), ("out_proj", "to_out.0")):
        names |= {spelled.replace(f"self_attn.{new}", f"self_attn.{old}") for spelled in names}
    return names
