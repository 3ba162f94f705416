"""Winograd's convolution of pictures: 3 x 3 windows with a quarter of the multiplications.

Lavin & Gray, "Fast Algorithms for Convolutional Neural Networks" (arXiv:1509.09308), section 4, as F(4 x 4, 3 x 3): a
tile of 6 x 6 inputs and the kernel are taken to 36 places where they are multiplied one by one, all channels at once
as 36 matrix products, and come back as 4 x 4 outputs. The points of interpolation are 0, +-1/sqrt 2, +-sqrt 2 and
infinity: they lose the least of the ones tried (0, +-1, +-2: twice as much), a relative error of 1.3e-6 in float32.
In bfloat16 it would be 1 %, so there the plain convolution stays.

Axes: B batch, C channels in, D channels out, H height, W width, I height out, J width out, P places (36), R tiles.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from nexus.nn.packed import Packed, PackedMatrix

TILE, EXTENT = 4, 6  # outputs and inputs of a tile, along each side
TILES_AT_ONCE = 128  # so that what is between the steps stays in the cache


def interpolation() -> tuple[Tensor, Tensor, Tensor]:
    """From inputs, kernels and products of one side to the places and back: [6, 6], [6, 3], [4, 6]."""
    points = torch.tensor([0, math.sqrt(0.5), -math.sqrt(0.5), math.sqrt(2), -math.sqrt(2)], dtype=torch.float64)

    def evaluate(n_terms: int) -> Tensor:
        powers = points[:, None] ** torch.arange(n_terms)
        highest = torch.zeros(1, n_terms, dtype=torch.float64)
        highest[0, -1] = 1  # the value at infinity
        return torch.cat([powers, highest])

    return torch.linalg.inv(evaluate(EXTENT)).mT, evaluate(3), evaluate(TILE).mT


def transform_kernels(weight: Float[Tensor, "D C 3 3"]) -> Float[Tensor, "P D C"]:
    """The kernels at the 36 places."""
    side = interpolation()[1]
    return torch.einsum("pi,dcij,qj->pqdc", side, weight.double(), side).flatten(0, 1).to(weight.dtype)


class PlaceKernels:
    """The kernels of a convolution at the 36 places, and as they were."""

    def __init__(self, weight: Float[Tensor, "D C 3 3"]):
        self.weight = weight.detach()
        self.places = [PackedMatrix(place) for place in transform_kernels(self.weight)]

    def __call__(self, inputs: Float[Tensor, "P R C"]) -> Float[Tensor, "P R D"]:
        return torch.stack([kernels(place) for kernels, place in zip(self.places, inputs, strict=True)])

    def dense(self) -> Float[Tensor, "D C 3 3"]:
        return self.weight


class WinogradConv2d(Packed, nn.Conv2d):  # type: ignore[misc]
    """A 3 x 3 convolution of stride 1, in float32, whose result lies with its channels last."""

    @staticmethod
    def suits(layer: nn.Conv2d) -> bool:
        shape = layer.kernel_size == (3, 3) and layer.stride == layer.dilation == (1, 1) and layer.groups == 1
        plain = (
            layer.weight.dtype == torch.float32 and layer.padding_mode == "zeros" and not isinstance(layer.padding, str)
        )
        small = min(layer.in_channels, layer.out_channels) >= 192  # below, the ways to the places and back cost more
        return shape and plain and small and layer.in_channels * layer.out_channels <= 1 << 20

    def pack(self, weight: Tensor) -> PlaceKernels:
        inputs, _, outputs = interpolation()
        self.inputs = torch.kron(inputs, inputs).to(weight.dtype)
        self.outputs = torch.kron(outputs, outputs).to(weight.dtype)
        return PlaceKernels(weight)

    def forward(self, input: Float[Tensor, "B C H W"]) -> Float[Tensor, "B D I J"]:
        if torch.is_grad_enabled() and input.requires_grad:
            return super().forward(input)
        above, left = map(int, self.padding)
        x = input.permute(0, 2, 3, 1)
        height, width = x.shape[1] + 2 * above - 2, x.shape[2] + 2 * left - 2
        rows, columns = -(-height // TILE), -(-width // TILE)
        at_once = max(1, TILES_AT_ONCE // (columns * len(x)))
        y = x.new_empty(len(x), rows, TILE, columns, TILE, self.out_channels)
        for first in range(0, rows, at_once):
            last = min(first + at_once, rows)
            y[:, first:last] = self._convolve(_tiles(x, first, last, columns, above, left))
        return y.flatten(3, 4).flatten(1, 2)[:, :height, :width].permute(0, 3, 1, 2)

    def _convolve(self, tiles: Float[Tensor, "6 6 B rows columns C"]) -> Float[Tensor, "B rows 4 columns 4 D"]:
        n_tiles = tiles[0, 0, ..., 0].numel()
        places = (self.inputs @ tiles.reshape(EXTENT**2, -1)).view(EXTENT**2, n_tiles, -1)
        out = self.outputs @ self.packed(places).flatten(1)
        if self.bias is not None:
            out = out.view(-1, self.out_channels) + self.bias
        return out.view(TILE, TILE, *tiles.shape[2:5], -1).permute(2, 3, 0, 4, 1, 5)


def _tiles(x: Float[Tensor, "B H W C"], first: int, last: int, columns: int, above: int, left: int) -> Tensor:
    """Rows of overlapping tiles of the input with zeros around it, the channels last: [6, 6, B, rows, columns, C]."""
    top = TILE * first - above  # the band's first row in the input
    n_rows, n_columns = TILE * (last - first) + 2, TILE * columns + 2
    band = x.new_zeros(len(x), n_rows, n_columns, x.shape[3])
    inside = x[:, max(top, 0) : top + n_rows]
    start = max(-top, 0)
    band[:, start : start + inside.shape[1], left : left + x.shape[2]] = inside
    each, row, column, channel = band.stride()
    shape = (EXTENT, EXTENT, len(x), last - first, columns, x.shape[3])
    return band.as_strided(shape, (row, column, each, TILE * row, TILE * column, channel))
