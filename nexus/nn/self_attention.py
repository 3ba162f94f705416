"""Self-attention of a transformer over patches: queries, keys and values by one layer, their heads normed or not.

Axes: B batch, N heads, T tokens, E head width, D = N E.
"""

from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from nexus.nn.attention import attend, merge_heads

Heads = tuple[Float[Tensor, "B N T E"], Float[Tensor, "B N T E"], Float[Tensor, "B N T E"]]


class ToHeads(nn.Module):
    """Queries, keys and values of tokens; with `qk_norm` the first two are normed in each head (RMS)."""

    def __init__(self, dim: int, n_heads: int, qk_norm: bool = False):
        super().__init__()
        self.n_heads = n_heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.q_norm = nn.RMSNorm(dim // n_heads, eps=1e-6) if qk_norm else nn.Identity()
        self.k_norm = nn.RMSNorm(dim // n_heads, eps=1e-6) if qk_norm else nn.Identity()

    def forward(self, x: Float[Tensor, "B T D"]) -> Heads:
        return self.normed(self.bare(x))

    def bare(self, x: Float[Tensor, "B T D"]) -> Heads:
        """As projected, before the norms."""
        q, k, v = rearrange(self.qkv(x), "b t (three n e) -> three b n t e", three=3, n=self.n_heads)
        return q, k, v

    def normed(self, heads: Heads) -> Heads:
        q, k, v = heads
        return self.q_norm(q), self.k_norm(k), v


class SelfAttention(nn.Module):
    """Every token attends to every token."""

    def __init__(self, dim: int, n_heads: int, qk_norm: bool = False):
        super().__init__()
        self.heads = ToHeads(dim, n_heads, qk_norm)
        self.out = nn.Linear(dim, dim)

    def forward(self, x: Float[Tensor, "B T D"]) -> Float[Tensor, "B T D"]:
        return self.out(merge_heads(attend(*self.heads(x))))
