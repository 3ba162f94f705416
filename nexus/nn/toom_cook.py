"""Convolutions over time with fewer multiplications: 6 outputs of a window of 7 for 12 instead of 42 (`places`).

For inference in float32, windows of 2, 3 or 7 steps, of any dilation: a dilated convolution is as many plain ones,
each of every dilation-th step. Two steps are what a transposed convolution of two strides is made of
(`nexus.nn.packed_steps`).

Axes: B batch, C channels in, D channels out, L samples in, T samples out, K kernel.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from nexus.nn.layout import by_steps
from nexus.nn.places import PlaceKernels, interpolation

OUTPUTS = {2: 5, 3: 6, 7: 6}  # of a tile, by the window
LEAST = {2: 192, 3: 128, 7: 64}  # channels, by the window; below, the ways to the places and back cost more
ROWS_AT_ONCE = 256  # tiles, so that what is between the steps stays in the cache


class ToomCookKernels:
    """The kernels of a convolution of stride 1 without padding."""

    def __init__(self, weight: Float[Tensor, "D C K"], dilation: int):
        self.weight, self.dilation = weight.detach().clone(), dilation
        self.extent = weight.shape[2]
        inputs, kernels, outputs = interpolation(OUTPUTS[self.extent], self.extent)
        self.inputs, self.outputs = inputs.to(weight.dtype), outputs.to(weight.dtype)
        self.places = PlaceKernels(torch.einsum("pk,dck->pdc", kernels, self.weight.double()).to(weight.dtype))

    @staticmethod
    def suits(weight: Float[Tensor, "D C K"], stride: int) -> bool:
        n_outputs, n_inputs, extent = weight.shape
        return (
            weight.dtype == torch.float32
            and stride == 1
            and extent in LEAST
            and min(n_inputs, n_outputs) >= LEAST[extent]
        )

    def __call__(self, x: Float[Tensor, "B C L"], bias: Tensor | None) -> Float[Tensor, "B D T"]:
        steps, reach = by_steps(x).mT, self.dilation * (self.extent - 1)
        tile = len(self.outputs)
        length, block = steps.shape[1] - reach, self.dilation * tile
        n_blocks = -(-length // block)
        at_once = max(1, ROWS_AT_ONCE // (self.dilation * len(x)))
        y = x.new_empty(len(x), n_blocks, tile, self.dilation, self.weight.shape[0])
        for first in range(0, n_blocks, at_once):
            last = min(first + at_once, n_blocks)
            band = steps[:, first * block : last * block + reach]
            band = F.pad(band, (0, 0, 0, (last - first) * block + reach - band.shape[1]))
            out = self._convolve(band, last - first)
            torch.add(out, 0 if bias is None else bias.detach(), out=y[:, first:last])
        return y.flatten(1, 3)[:, :length].mT

    def _convolve(self, steps: Float[Tensor, "B L C"], n_blocks: int) -> Float[Tensor, "B N _ dilation D"]:
        each, step, channel = steps.stride()
        tile, n_places, d = *self.outputs.shape, self.dilation
        shape = (n_places, len(steps), n_blocks, d, steps.shape[2])
        stride = (d * step, each, d * tile * step, step, channel)
        tiles = steps.as_strided(shape, stride, steps.storage_offset())
        products = self.places((self.inputs @ tiles.reshape(n_places, -1)).view(n_places, -1, steps.shape[2]))
        out = self.outputs @ products.flatten(1)
        return out.view(tile, len(steps), n_blocks, d, -1).permute(1, 2, 0, 3, 4)

    def dense(self) -> Float[Tensor, "D C K"]:
        return self.weight
