"""Adaptive layer norm (DiT, arXiv:2212.09748, section 3.2): a vector shifts, scales and gates what tokens carry.

Axes: B batch, T tokens, D width, E width of the vector.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

Vector = Float[Tensor, "#B 1 D"]


def modulate(
    x: Float[Tensor, "B T D"], shift: Float[Tensor, "#B 1 D"], scale: Float[Tensor, "#B 1 D"], eps: float = 1e-6
) -> Float[Tensor, "B T D"]:
    """The layer norm of x, without weights of its own, times 1 + scale, plus shift."""
    return torch.addcmul(shift, F.layer_norm(x, x.shape[-1:], eps=eps), 1 + scale)


class Modulation(nn.Module):
    """`n` vectors [B, 1, D] for each item, from SiLU and one layer; zero at first, so that gated blocks do nothing."""

    def __init__(self, dim: int, n: int, in_dim: int | None = None):
        super().__init__()
        self.n = n
        self.linear = nn.Linear(in_dim or dim, n * dim)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, vector: Float[Tensor, "B E"]) -> tuple[Tensor, ...]:
        return self.linear(F.silu(vector))[:, None].chunk(self.n, dim=-1)


class AdaptiveNorm(nn.Module):
    """Layer norm with the shift and the scale (in this order) of a vector, as before an output layer."""

    def __init__(self, dim: int, in_dim: int | None = None):
        super().__init__()
        self.modulation = Modulation(dim, 2, in_dim)

    def forward(self, x: Float[Tensor, "B T D"], vector: Float[Tensor, "B E"]) -> Float[Tensor, "B T D"]:
        shift, scale = self.modulation(vector)
        return modulate(x, shift, scale)
