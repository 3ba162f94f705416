"""Toom and Cook's way to convolve with fewer multiplications, on which `winograd` and `toom_cook` stand.

A tile of inputs and a kernel are polynomials; both are evaluated at as many places as their product has coefficients,
multiplied there, all channels at once as a matrix product a place, and interpolated back (Lavin & Gray, "Fast
Algorithms for Convolutional Neural Networks", arXiv:1509.09308, section 4). Places are 0, pairs +-a and infinity; the
pairs are the ones that lost the least in float32 of those tried.

Axes: P places, E inputs of a tile, T its outputs, K kernel, C channels in, D channels out, R rows.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from nexus.nn.packed import PackedMatrix

# For so many places, the pairs; relative error of 4 outputs of 3 (along both sides of a picture): 1.3e-6, of 6 of 3:
# 1.5e-6, of 6 of 7: 4e-6 to 9e-6 by channels. A plain one's is 2e-7. Windows of 11 would lose more to gain a sixth.
_PAIRS = {6: (0.5**0.5, 2**0.5), 8: (0.5, 1, 1.5), 12: (1 / 3, 2 / 3, 1, 1.5, 3)}
_WIDE = 384 * 384  # weights from which on packed matrices are faster than one product of all places


def interpolation(
    n_outputs: int, n_taps: int
) -> tuple[Float[Tensor, "P E"], Float[Tensor, "P K"], Float[Tensor, "T P"]]:
    """From inputs and kernels to the places, and from products back to outputs, in float64."""
    n_places = n_outputs + n_taps - 1
    points = torch.tensor([0.0, *(p for pair in _PAIRS[n_places] for p in (pair, -pair))], dtype=torch.float64)

    def evaluate(n_terms: int) -> Tensor:
        powers = points[:, None] ** torch.arange(n_terms)
        highest = torch.zeros(1, n_terms, dtype=torch.float64)
        highest[0, -1] = 1  # the value at infinity
        return torch.cat([powers, highest])

    return torch.linalg.inv(evaluate(n_places)).mT, evaluate(n_taps), evaluate(n_outputs).mT


class PlaceKernels:
    """A convolution's kernels at the places."""

    def __init__(self, kernels: Float[Tensor, "P D C"]):
        packed = kernels[0].numel() >= _WIDE
        self.kernels = [PackedMatrix(kernel) for kernel in kernels] if packed else kernels.mT.contiguous()

    def __call__(self, inputs: Float[Tensor, "P R C"]) -> Float[Tensor, "P R D"]:
        if isinstance(self.kernels, Tensor):
            return torch.bmm(inputs, self.kernels)
        return torch.stack([kernel(place) for kernel, place in zip(self.kernels, inputs, strict=True)])
