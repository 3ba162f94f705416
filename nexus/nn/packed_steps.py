"""Packed convolutions over time, whole or in the short chunks of a stream (see `nexus.nn.packed`).

A long input is a picture of one row, or goes Toom and Cook's way (`nexus.nn.toom_cook`). A short one meets all of a
layer's weights for few outputs, so its windows are laid side by side and multiplied by one matrix, which fits any
length: a stream's first and last chunks differ.

Axes: B batch, C channels in, D channels out, L samples in, T samples out, K kernel, S stride.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from nexus.nn.layout import StepConv1d, StepConvTranspose1d, by_steps, joined, pays, zeros
from nexus.nn.packed import Packed, PackedKernels, PackedMatrix
from nexus.nn.toom_cook import ToomCookKernels

SHORT = 64  # outputs, or inputs of a transposed convolution, up to which the matrix is faster
_WIDE = 1 << 17  # weights from which on


class RowKernels:
    """Packed kernels of pictures of one row."""

    def __init__(self, weight: Float[Tensor, "_ _ K"], stride: int, *, dilation: int = 1, transposed: bool = False):
        self.packed = PackedKernels(
            weight[:, :, None], stride=(1, stride), dilation=(1, dilation), transposed=transposed
        )

    def __call__(self, x: Float[Tensor, "B C L"], bias: Tensor | None) -> Float[Tensor, "B D T"]:
        return self.packed(by_steps(x)[:, :, None], bias)[:, :, 0]

    def dense(self) -> Float[Tensor, "_ _ K"]:
        return self.packed.dense()[:, :, 0]


class StepKernels:
    """The kernels of a convolution without padding."""

    def __init__(self, weight: Float[Tensor, "D C K"], stride: int, dilation: int):
        self.stride, self.dilation, self.extent = stride, dilation, weight.shape[2]
        self.long = (
            ToomCookKernels(weight, dilation)
            if ToomCookKernels.suits(weight, stride)
            else RowKernels(weight, stride, dilation=dilation)
        )
        self.wide, self.matrix = weight.numel() >= _WIDE, None

    def __call__(self, x: Float[Tensor, "B C L"], bias: Tensor | None) -> Float[Tensor, "B D T"]:
        n = (x.shape[2] - self.dilation * (self.extent - 1) - 1) // self.stride + 1
        if not self.wide or n * len(x) > SHORT or n < 1:
            return self.long(x, bias)
        if self.matrix is None:
            self.matrix = PackedMatrix(self.dense().permute(0, 2, 1).flatten(1))
        steps = x.mT.contiguous()
        item, step, channel = steps.stride()
        shape = (len(x), n, self.extent, x.shape[1])
        windows = steps.as_strided(shape, (item, self.stride * step, self.dilation * step, channel))
        return self.matrix(windows.flatten(2), bias).mT

    def dense(self) -> Float[Tensor, "D C K"]:
        return self.long.dense()


class TwoStrideKernels:
    """A transposed convolution two strides long is a convolution of two steps, its channels a stride's samples."""

    def __init__(self, weight: Float[Tensor, "C D K"], stride: int):
        self.stride = stride
        self.steps = ToomCookKernels(self.over_steps(weight), dilation=1)

    @staticmethod
    def over_steps(weight: Float[Tensor, "C D K"]) -> Float[Tensor, "_ C 2"]:
        return torch.stack(weight.chunk(2, 2)[::-1], 3).permute(2, 1, 0, 3).flatten(0, 1)

    @staticmethod
    def suits(weight: Float[Tensor, "C D K"], stride: int) -> bool:
        return weight.shape[2] == 2 * stride and ToomCookKernels.suits(TwoStrideKernels.over_steps(weight), stride=1)

    def __call__(self, x: Float[Tensor, "B C L"], bias: Tensor | None) -> Float[Tensor, "B D T"]:
        step = zeros(x, 1)
        y = self.steps(joined(step, x, step), None if bias is None else bias.repeat(self.stride))
        return y.mT.unflatten(2, (self.stride, -1)).flatten(1, 2).mT

    def dense(self) -> Float[Tensor, "C D K"]:
        before, now = self.steps.dense().unflatten(0, (self.stride, -1)).permute(2, 1, 0, 3).unbind(3)
        return torch.cat([now, before], 2)


class TransposedStepKernels:
    """The kernels of a transposed convolution that is a whole number of strides long."""

    def __init__(self, weight: Float[Tensor, "C D K"], stride: int):
        self.stride, self.overlap = stride, weight.shape[2] // stride
        self.long = (
            TwoStrideKernels(weight, stride)
            if TwoStrideKernels.suits(weight, stride)
            else RowKernels(weight, stride, transposed=True)
        )
        self.wide, self.matrix = weight.numel() >= _WIDE and weight.shape[2] % stride == 0, None

    def __call__(self, x: Float[Tensor, "B C L"], bias: Tensor | None) -> Float[Tensor, "B D T"]:
        if not self.wide or x.shape[2] * len(x) > SHORT or not x.shape[2]:
            return self.long(x, bias)
        if self.matrix is None:
            self.matrix = PackedMatrix(self.dense().permute(2, 1, 0).flatten(0, 1))
        n = x.shape[2]
        each = self.matrix(x.mT).unflatten(2, (self.overlap, -1))  # [B, L, K / S, S D]
        y = each.new_zeros(len(x), n + self.overlap - 1, each.shape[3])
        for i in range(self.overlap):
            y[:, i : i + n] += each[:, :, i]
        y = y.unflatten(2, (self.stride, -1)).flatten(1, 2)
        return (y if bias is None else y + bias).mT

    def dense(self) -> Float[Tensor, "C D K"]:
        return self.long.dense()


class PackedStepConv1d(Packed, StepConv1d):  # type: ignore[misc]
    """A convolution over time; of one step, a matrix."""

    @staticmethod
    def suits(layer: StepConv1d) -> bool:
        return layer.groups == 1 and layer.weight.numel() >= 1 << 12

    def pack(self, weight: Tensor) -> PackedMatrix | StepKernels:
        if self.kernel_size == self.stride == (1,):
            return PackedMatrix(weight[:, :, 0])
        return StepKernels(weight, self.stride[0], self.dilation[0])

    @property
    def weight(self) -> Tensor:  # type: ignore[override]
        dense = self.packed.dense()
        return dense[..., None] if dense.ndim == 2 else dense

    def forward(self, input: Float[Tensor, "B C L"]) -> Float[Tensor, "B D T"]:
        if not pays(input):
            return super().forward(input)
        if isinstance(self.packed, PackedMatrix):
            return self.packed(input.mT, self.bias).mT
        return self.packed(input, self.bias)


class PackedStepConvTranspose1d(Packed, StepConvTranspose1d):  # type: ignore[misc]
    """A transposed convolution over time."""

    @staticmethod
    def suits(layer: StepConvTranspose1d) -> bool:
        return layer.groups == 1 and layer.weight.numel() >= 1 << 12

    def pack(self, weight: Tensor) -> TransposedStepKernels:
        return TransposedStepKernels(weight, self.stride[0])

    def forward(self, input: Float[Tensor, "B C L"], output_size: list[int] | None = None) -> Float[Tensor, "B D T"]:
        if output_size is not None or not pays(input):
            return super().forward(input, output_size)
        return self.packed(input, self.bias)
