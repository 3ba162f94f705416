"""T5's encoder as single files hold it, in `transformers`' names; its sizes are read off its tensors."""

import re
from pathlib import Path

import torch

from nexus.hub.original_clip import tokenizer
from nexus.hub.tensors import State, load_strict
from nexus.text.encoders import TextEncoder

TOKENIZER = "google/t5-v1_1-xxl"


def load_t5(state: State, where: str, beside: Path, folder: str, *, n_tokens: int) -> TextEncoder:
    """The encoder, which reads padding up to n_tokens; its tokenizer is the folder beside the file, or the hub's.

    Raises:
        ValueError: tensors that do not fit.
        FileNotFoundError: no vocabulary.
    """
    from transformers import T5Config, T5EncoderModel

    def size(name: str) -> torch.Size:
        if name not in state:
            raise ValueError(f"{where}: the tensors do not fit T5: 1 missing: {name}")
        return state[name].shape

    attention, feed_forward = "encoder.block.0.layer.0.SelfAttention", "encoder.block.0.layer.1.DenseReluDense"
    gated = f"{feed_forward}.wi_0.weight" in state
    n_buckets, n_heads = size(f"{attention}.relative_attention_bias.weight")
    vocabulary, dim = size("shared.weight")
    config = T5Config(
        vocab_size=vocabulary,
        d_model=dim,
        d_kv=size(f"{attention}.q.weight")[0] // n_heads,
        d_ff=size(f"{feed_forward}.{'wi_0' if gated else 'wi'}.weight")[0],
        num_layers=len({match[1] for name in state if (match := re.match(r"encoder\.block\.(\d+)\.", name))}),
        num_heads=n_heads,
        relative_attention_num_buckets=n_buckets,
        feed_forward_proj="gated-gelu" if gated else "relu",
    )
    with torch.device("meta"):
        encoder = T5EncoderModel(config)
    encoder = encoder.to_empty(device="cpu")
    # The one table of words has two names; some files hold one of them.
    load_strict(encoder, {"encoder.embed_tokens.weight": state["shared.weight"]} | state, where)
    encoder.tie_weights()
    words = tokenizer(beside, folder, TOKENIZER)
    return TextEncoder(encoder.float(), words, max_tokens=n_tokens, pad_to=n_tokens, read_padding=True)
