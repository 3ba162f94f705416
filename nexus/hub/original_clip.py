"""CLIP's text encoders as single files hold them: in `transformers`' names, or in OpenCLIP's.

Axes: D width.
"""

import re
from pathlib import Path
from typing import Any

import torch

from nexus.hub.tensors import State, drop, load_strict, rename
from nexus.text.clip import ClipText
from nexus.text.encoders import read_tokenizer

TOKENIZER = "openai/clip-vit-large-patch14"
_OPEN_CLIP = (
    (r"^token_embedding\.", "text_model.embeddings.token_embedding."),
    (r"^positional_embedding$", "text_model.embeddings.position_embedding.weight"),
    (r"^ln_final\.", "text_model.final_layer_norm."),
    (r"^transformer\.resblocks\.", "text_model.encoder.layers."),
    (r"\.ln_([12])\.", r".layer_norm\1."),
    (r"\.mlp\.c_fc\.", ".mlp.fc1."),
    (r"\.mlp\.c_proj\.", ".mlp.fc2."),
    (r"\.attn\.out_proj\.", ".self_attn.out_proj."),
)


def load_clip(state: State, where: str, beside: Path, *, projects: bool = False) -> ClipText:
    """CLIP-L in `transformers`' names; its tokenizer is the folder `tokenizer` beside the file, or the hub's.

    Args:
        projects: its summary, where the file holds what by; else that is left out.
    """
    state = drop(state, r"position_ids$") if projects else drop(state, r"position_ids$", r"^text_projection\.weight$")
    projects = "text_projection.weight" in state
    return _built(state, where, tokenizer(beside), projects=projects, activation="quick_gelu")


def load_large_clip(state: State, where: str, beside: Path) -> ClipText:
    """OpenCLIP's bigG in `transformers`' names, as Stable Diffusion 3's files have it."""
    words = _padded_with_zeros(tokenizer(beside))
    return _built(drop(state, r"position_ids$"), where, words, projects=True, activation="gelu")


def load_open_clip(state: State, where: str, beside: Path, *, all_layers: bool) -> ClipText:
    """OpenCLIP's names; without `all_layers` all but the last, whose states 2.x reads, and without the projection."""
    state = drop(state, r"^logit_scale$", r"^attn_mask$", r"^text_model\.embeddings\.position_ids$")
    n = 1 + max(int(match[1]) for name in state if (match := re.match(r"transformer\.resblocks\.(\d+)\.", name)))
    if not all_layers:
        state = drop(state, rf"^transformer\.resblocks\.{n - 1}\.", r"^text_projection$")
    words = _padded_with_zeros(tokenizer(beside))
    converted = _split(rename(state, _OPEN_CLIP))
    if "text_projection" in converted:
        converted["text_projection.weight"] = converted.pop("text_projection").T.contiguous()
    return _built(converted, where, words, projects=all_layers, activation="gelu")


def _padded_with_zeros(words: Any) -> Any:
    """As OpenCLIP was trained, where CLIP-L was with the end."""
    words.pad_token = words.convert_ids_to_tokens(0)
    return words


def _split(state: State) -> State:
    """Queries, keys and values, which OpenCLIP keeps below each other."""
    split = dict(state)
    for name, tensor in state.items():
        if match := re.match(r"(.*)\.attn\.in_proj_(weight|bias)$", name):
            del split[name]
            for part, piece in zip("qkv", tensor.chunk(3), strict=True):
                split[f"{match[1]}.self_attn.{part}_proj.{match[2]}"] = piece.contiguous()
    return split


def _built(state: State, where: str, words: Any, *, projects: bool, activation: str) -> ClipText:
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    embeddings = state["text_model.embeddings.token_embedding.weight"]
    places = state["text_model.embeddings.position_embedding.weight"]
    dim = embeddings.shape[1]
    layers = {match[1] for name in state if (match := re.match(r"text_model\.encoder\.layers\.(\d+)\.", name))}
    config = CLIPTextConfig(
        vocab_size=len(embeddings),
        hidden_size=dim,
        intermediate_size=state["text_model.encoder.layers.0.mlp.fc1.weight"].shape[0],
        projection_dim=state["text_projection.weight"].shape[0] if projects else dim,
        num_hidden_layers=len(layers),
        num_attention_heads=max(dim // 64, 1),
        max_position_embeddings=len(places),
        hidden_act=activation,
        bos_token_id=words.bos_token_id,
        eos_token_id=words.eos_token_id,
        pad_token_id=words.pad_token_id,
    )
    with torch.device("meta"):
        encoder = (CLIPTextModelWithProjection if projects else CLIPTextModel)(config)
    encoder = encoder.to_empty(device="cpu")
    for name, buffer in encoder.named_buffers():
        if name.endswith("position_ids"):
            buffer.copy_(torch.arange(buffer.shape[-1]))
    # Without a projection the model's own names have no `text_model.` before them.
    own = state if any(name.startswith("text_model.") for name in encoder.state_dict()) else _bare(state)
    load_strict(encoder, own, where)
    return ClipText(encoder.float(), words)


def _bare(state: State) -> State:
    return {name.removeprefix("text_model."): tensor for name, tensor in state.items()}


def tokenizer(beside: Path, folder: str = "tokenizer", official: str = TOKENIZER) -> Any:
    """A file holds no vocabulary: that of a folder beside it, or the official one from the hub.

    Raises:
        FileNotFoundError: neither is there.
    """
    from transformers import AutoTokenizer

    if (beside / folder).is_dir():
        return read_tokenizer(beside / folder)
    try:
        return AutoTokenizer.from_pretrained(official)
    except (OSError, ValueError):
        raise FileNotFoundError(
            f"a single file holds no vocabulary, and {official}'s is not in the local cache and the hub can't be "
            f"reached; put the {folder} folder of any such pipeline beside it, as {beside / folder}"
        ) from None
