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

# Our layers that hold several of the reference's, one below the other.
_FUSED = {"qkv": ("to_q", "to_k", "to_v"), "kv": ("to_k", "to_v")}

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
# For each class of networks: the reference's prefix in files, and ours to its names, in order.
_NAMES: dict[str, tuple[str, tuple[Rule, ...]]] = {
    "ConditionalUNet": ("unet", _UNET),
    "CogVideoX": ("transformer", _COGVIDEOX),
    "Transformer": ("transformer", _COGVIDEOX),
    "CLIPTextModel": ("text_encoder", ((r"^(?!text_model\.)", "text_model."),)),
    "CLIPTextModelWithProjection": ("text_encoder", ()),
}


def prefix(network: nn.Module) -> str | None:
    """What files put before the names of this network's layers; None where no other project knows it."""
    return _NAMES.get(type(network).__name__, (None,))[0]


def places(network: nn.Module) -> Places:
    """Where each layer of the reference is in ours, in our order; a network without a table keeps its names."""
    _, rules = _NAMES.get(type(network).__name__, (None, None))
    return {name: place for ours, layer in _layers(network) for name, place in _named(ours, len(layer.weight), rules)}


def lookup(network: nn.Module) -> Places:
    """Places by every spelling that files have: the reference's names and ours, dots as underscores."""
    found = {ours: Place(ours, 0, len(layer.weight)) for ours, layer in _layers(network)}
    found |= places(network)
    return {spelled.replace(".", "_"): place for name, place in found.items() for spelled in _spellings(name)}


def _layers(network: nn.Module) -> Iterator[tuple[str, nn.Linear | nn.Conv2d]]:
    for name, layer in network.named_modules():
        if isinstance(layer, nn.Linear | nn.Conv2d):
            yield name, layer


def _named(ours: str, n_rows: int, rules: tuple[Rule, ...] | None) -> Iterator[tuple[str, Place]]:
    stem, dot, last = ours.rpartition(".")
    parts = (last,) if rules is None else _FUSED.get(last, (last,))
    for i, part in enumerate(parts):
        name = f"{stem}{dot}{part}"
        for pattern, new in rules or ():
            name = re.sub(pattern, new, name)
        yield name, Place(ours, i * n_rows // len(parts), (i + 1) * n_rows // len(parts))


def _spellings(name: str) -> set[str]:
    """Text encoders with and without their outer module, their projections also as old processors had them."""
    names = {name, name.removeprefix("text_model.")}
    for new, old in (("q_proj", "to_q"), ("k_proj", "to_k"), ("v_proj", "to_v"), ("out_proj", "to_out.0")):
        names |= {spelled.replace(f"self_attn.{new}", f"self_attn.{old}") for spelled in names}
    return names
