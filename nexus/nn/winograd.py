"""Winograd's convolution of pictures: 3 x 3 windows with a quarter of the multiplications.

F(4 x 4, 3 x 3) of Lavin & Gray (arXiv:1509.09308, section 4): a tile of 6 x 6 inputs and the kernel are taken to 36
places, multiplied there, and come back as 4 x 4 outputs (`nexus.nn.places`). Relative error 1.3e-6 in float32. In
bfloat16 it would be 1.5 %, so bfloat16 is computed in float32, which costs eight times the kernels' memory and is still
1.1 to 1.4 times as fast as direct convolution in bfloat16 for many channels, where the CPU has no units for matrices in
bfloat16 (AMX).

Axes: B batch, C channels in, D channels out, H height, W width, I height out, J width out.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from nexus.nn.packed import Packed
from nexus.nn.places import PlaceKernels, interpolation

TILE, EXTENT = 4, 6  # outputs and inputs of a tile, along each side
TILES_AT_ONCE = 128  # so that what is between the steps stays in the cache
# Channels of either side; below, the ways to the places and back cost more than a direct convolution's products.
LEAST = {torch.float32: 128, torch.bfloat16: math.inf if torch.cpu._is_amx_tile_supported() else 320}
MOST = 1 << 20  # weights of a place, for the sake of memory


class PictureKernels:
    """The kernels of a convolution at the 36 places, and as they were."""

    def __init__(self, weight: Float[Tensor, "D C 3 3"]):
        self.weight = weight.detach()
        inputs, kernels, outputs = interpolation(TILE, 3)
        self.inputs, self.outputs = inputs.float(), outputs.float()
        places = torch.einsum("pi,dcij,qj->pqdc", kernels, self.weight.double(), kernels)
        self.places = PlaceKernels(places.flatten(0, 1).float())

    def dense(self) -> Float[Tensor, "D C 3 3"]:
        return self.weight


class WinogradConv2d(Packed, nn.Conv2d):  # type: ignore[misc]
    """A 3 x 3 convolution of stride 1, whose result lies with its channels last."""

    @staticmethod
    def suits(layer: nn.Conv2d) -> bool:
        shape = layer.kernel_size == (3, 3) and layer.stride == layer.dilation == (1, 1) and layer.groups == 1
        plain = layer.padding_mode == "zeros" and not isinstance(layer.padding, str)
        few, many = sorted((layer.in_channels, layer.out_channels))
        return shape and plain and few >= LEAST[layer.weight.dtype] and few * many <= MOST

    def pack(self, weight: Tensor) -> PictureKernels:
        return PictureKernels(weight)

    def forward(self, input: Float[Tensor, "B C H W"]) -> Float[Tensor, "B D I J"]:
        if torch.is_grad_enabled() and input.requires_grad:
            return super().forward(input)
        above, left = map(int, self.padding)
        x = input.permute(0, 2, 3, 1)
        height, width = x.shape[1] + 2 * above - 2, x.shape[2] + 2 * left - 2
        rows, columns = -(-height // TILE), -(-width // TILE)
        at_once = max(1, TILES_AT_ONCE // (columns * len(x)))
        y = x.new_empty(len(x), rows, TILE, columns, TILE, self.out_channels)
        bias = 0 if self.bias is None else self.bias.detach().float()
        for first in range(0, rows, at_once):
            last = min(first + at_once, rows)
            out = self._convolve(_tiles(x, first, last, columns, above, left))
            torch.add(out, bias, out=y[:, first:last])
        return y.flatten(3, 4).flatten(1, 2)[:, :height, :width].permute(0, 3, 1, 2)

    def _convolve(self, tiles: Float[Tensor, "6 6 B rows columns C"]) -> Float[Tensor, "B rows 4 columns 4 D"]:
        n_tiles, kernels = tiles[0, 0, ..., 0].numel(), self.packed
        places = _both_ways(kernels.inputs, tiles.reshape(EXTENT, EXTENT, -1))
        out = _both_ways(kernels.outputs, kernels.places(places.view(EXTENT**2, n_tiles, -1)).view(EXTENT, EXTENT, -1))
        return out.view(TILE, TILE, *tiles.shape[2:5], -1).permute(2, 3, 0, 4, 1, 5)


def _both_ways(change: Float[Tensor, "to of"], x: Float[Tensor, "of of n"]) -> Float[Tensor, "to to n"]:
    """change x change^T for each of n; on rows, then on columns, which is less to compute than both at once."""
    return change @ (change @ x.flatten(1)).unflatten(1, x.shape[1:])


def _tiles(x: Float[Tensor, "B H W C"], first: int, last: int, columns: int, above: int, left: int) -> Tensor:
    """Rows of overlapping tiles of the input with zeros around it, the channels last: [6, 6, B, rows, columns, C]."""
    top = TILE * first - above  # the band's first row in the input
    n_rows, n_columns = TILE * (last - first) + 2, TILE * columns + 2
    band = torch.zeros(len(x), n_rows, n_columns, x.shape[3])
    inside = x[:, max(top, 0) : top + n_rows]
    start = max(-top, 0)
    band[:, start : start + inside.shape[1], left : left + x.shape[2]] = inside
    each, row, column, channel = band.stride()
    shape = (EXTENT, EXTENT, len(x), last - first, columns, x.shape[3])
    return band.as_strided(shape, (row, column, each, TILE * row, TILE * column, channel))
