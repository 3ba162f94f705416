"""Transformers over the places of a picture that hear a text (latent diffusion, arXiv:2112.10752, appendix E.2.1).

A text does not change while a picture is sampled, so its keys and values are computed once: `CrossAttention.hear` makes
them, and `Told` holds what each cross-attention hears. Adapters add to it (IP-Adapter: a picture beside the text).

Axes: B batch, C channels, H height, W width, T places, S tokens, N heads, E head width, D text width.
"""

from typing import NamedTuple

import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from nexus.nn.attention import attend, merge_heads, split_heads

Places = Float[Tensor, "B T C"]


class Heard(NamedTuple):
    """Keys and values of one source, and how much its answer counts."""

    keys: Float[Tensor, "B N S E"]
    values: Float[Tensor, "B N S E"]
    weight: float = 1.0


Told = dict[nn.Module, list[Heard]]  # for each `CrossAttention`, the sources that it hears


class SelfAttention(nn.Module):
    """Every place attends to every place."""

    def __init__(self, dim: int, n_heads: int):
        super().__init__()
        self.n_heads = n_heads
        self.qkv = nn.Linear(dim, 3 * dim, bias=False)
        self.out = nn.Linear(dim, dim)

    def forward(self, x: Places) -> Places:
        q, k, v = (split_heads(part, self.n_heads) for part in self.qkv(x).chunk(3, dim=-1))
        return self.out(merge_heads(attend(q, k, v)))


class CrossAttention(nn.Module):
    """Every place attends to each source that it hears; the answers are added."""

    def __init__(self, dim: int, text_dim: int, n_heads: int):
        super().__init__()
        self.n_heads = n_heads
        self.q = nn.Linear(dim, dim, bias=False)
        self.kv = nn.Linear(text_dim, 2 * dim, bias=False)
        self.out = nn.Linear(dim, dim)

    def hear(self, text: Float[Tensor, "B S D"]) -> Heard:
        k, v = (split_heads(part, self.n_heads) for part in self.kv(text).chunk(2, dim=-1))
        return Heard(k.contiguous(), v.contiguous())

    def forward(self, x: Places, heard: list[Heard]) -> Places:
        q = split_heads(self.q(x), self.n_heads)
        first, *others = heard
        answer = attend(q, first.keys, first.values)
        if first.weight != 1:
            answer = first.weight * answer
        for other in others:
            answer = answer + other.weight * attend(q, other.keys, other.values)
        return self.out(merge_heads(answer))


class GatedFeedForward(nn.Module):
    """GEGLU (arXiv:2002.05202): one half of the widened features, gated by the other."""

    def __init__(self, dim: int):
        super().__init__()
        self.widen = nn.Linear(dim, 8 * dim)
        self.out = nn.Linear(4 * dim, dim)

    def forward(self, x: Places) -> Places:
        hidden, gate = self.widen(x).chunk(2, dim=-1)
        return self.out(hidden * F.gelu(gate))


class Layer(nn.Module):
    """Self-attention, cross-attention and feed-forward, each after a norm and around a skip."""

    def __init__(self, dim: int, text_dim: int, n_heads: int):
        super().__init__()
        self.norm1, self.self_attention = nn.LayerNorm(dim), SelfAttention(dim, n_heads)
        self.norm2, self.cross_attention = nn.LayerNorm(dim), CrossAttention(dim, text_dim, n_heads)
        self.norm3, self.ff = nn.LayerNorm(dim), GatedFeedForward(dim)

    def forward(self, x: Places, told: Told) -> Places:
        x = x + self.self_attention(self.norm1(x))
        x = x + self.cross_attention(self.norm2(x), told[self.cross_attention])
        return x + self.ff(self.norm3(x))


class SpatialTransformer(nn.Module):
    """`n_layers` of them between two projections, around a skip."""

    def __init__(self, dim: int, text_dim: int, *, n_layers: int, n_heads: int, groups: int):
        super().__init__()
        self.norm = nn.GroupNorm(groups, dim, eps=1e-6)
        self.proj_in = nn.Linear(dim, dim)
        self.layers = nn.ModuleList(Layer(dim, text_dim, n_heads) for _ in range(n_layers))
        self.proj_out = nn.Linear(dim, dim)

    def forward(self, x: Float[Tensor, "B C H W"], told: Told) -> Float[Tensor, "B C H W"]:
        places = self.proj_in(rearrange(self.norm(x), "b c h w -> b (h w) c"))
        for layer in self.layers:
            places = layer(places, told)
        return x + rearrange(self.proj_out(places), "b (h w) c -> b c h w", h=x.shape[2])
