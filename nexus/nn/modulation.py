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


def projection(n_in: int, n_out: int, rank: int | None = None) -> nn.Module:
    """A linear layer; with a `rank`, two of them with that many numbers between: a function of time needs few."""
    if rank is None:
        return nn.Linear(n_in, n_out)
    return nn.Sequential(nn.Linear(n_in, rank, bias=False), nn.Linear(rank, n_out))


def last_layer(layer: nn.Module) -> nn.Linear:
    """The layer of a `projection` that gives its outputs."""
    last = layer[-1] if isinstance(layer, nn.Sequential) else layer
    assert isinstance(last, nn.Linear)
    return last


@torch.no_grad()
def low_rank(layer: nn.Linear, inputs: Float[Tensor, "n C"], rank: int) -> nn.Module:
    """The `projection` of this rank that is nearest to a learnt layer in mean square on these inputs."""
    weight, x = layer.weight.double(), inputs.double()
    values, axes = torch.linalg.eigh(x.mT @ x / len(x))
    root = (axes * values.clamp(min=0).sqrt()) @ axes.mT
    directions = torch.linalg.svd(weight @ root, full_matrices=False).U[:, :rank]
    first, last = nn.Linear(layer.in_features, rank, bias=False), nn.Linear(rank, layer.out_features)
    first.weight.copy_(directions.mT @ weight)
    last.weight.copy_(directions)
    last.bias.copy_(layer.bias)
    return nn.Sequential(first, last)


def shrink(blocks: nn.Module, inputs: Float[Tensor, "n C"], rank: int) -> None:
    """Puts the `low_rank` of each layer called `modulation` in its place."""
    for block in list(blocks.modules()):
        layer = getattr(block, "modulation", None)
        if isinstance(layer, nn.Linear):
            block.modulation = low_rank(layer, inputs, rank)


@torch.no_grad()
def widen(blocks: nn.Module) -> None:
    """Puts whole layers in the place of `low_rank` ones called `modulation`, to learn on: they compute the same."""
    for block in list(blocks.modules()):
        layers = getattr(block, "modulation", None)
        if isinstance(layers, nn.Sequential):
            first, last = layers
            assert isinstance(first, nn.Linear) and isinstance(last, nn.Linear)
            block.modulation = nn.Linear(first.in_features, last.out_features)
            block.modulation.weight.copy_(last.weight @ first.weight)
            block.modulation.bias.copy_(last.bias)
