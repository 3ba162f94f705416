"""Multi-head attention arithmetic: heads in and out, and softmax(q k^T / sqrt(E)) v (arXiv:1706.03762, eq. 1).

Axes: B batch, N heads, T queries, S keys, E head width, D = N E. Masks are bool, True = real.
"""

from contextlib import nullcontext

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor


def split_heads(x: Float[Tensor, "B T D"], n_heads: int) -> Float[Tensor, "B N T E"]:
    """Cuts the width into heads."""
    return rearrange(x, "b t (n e) -> b n t e", n=n_heads)


def merge_heads(x: Float[Tensor, "B N T E"]) -> Float[Tensor, "B T D"]:
    """Puts the heads side by side again."""
    return rearrange(x, "b n t e -> b t (n e)")


def attend(
    q: Float[Tensor, "B N T E"],
    k: Float[Tensor, "B N S E"],
    v: Float[Tensor, "B N S E"],
    mask: Bool[Tensor, "*mask"] | None = None,
    *,
    causal: bool = False,
) -> Float[Tensor, "B N T E"]:
    """Attends to the keys where `mask` is True; it is [B, S] (real keys), or broadcasts to [B, N, T, S].

    With `causal` query i sees the last S - T + i + 1 keys at most, so that a cached prefix may precede the queries.
    A query that may see nothing gives zeros, never NaN.
    """
    if mask is not None and mask.ndim == 2:
        mask = mask[:, None, None, :]
    if causal and (mask is not None or q.shape[2] != k.shape[2]):
        ones = q.new_ones(q.shape[2], k.shape[2]).bool()
        past = ones.tril(k.shape[2] - q.shape[2])
        mask, causal = past if mask is None else mask & past, False
    if on_cpu := q.device.type == "cpu" and torch.is_autocast_enabled("cpu"):
        q, k, v = q.float(), k.float(), v.float()  # autocast's bfloat16 kernel is the slower one there, up to 2.5 times
    elif q.device.type == "cpu" and q.dtype == torch.bfloat16:
        q, k, v = q.contiguous(), k.contiguous(), v.contiguous()  # copies cost less than that kernel's strides, a tenth
    with torch.autocast("cpu", enabled=False) if on_cpu else nullcontext():
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=causal)
    return out if mask is None else out.masked_fill(~mask.any(-1, keepdim=True), 0.0)
