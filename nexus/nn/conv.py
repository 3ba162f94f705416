"""Convolutions over time with EnCodec's padding rules (arXiv:2210.13438), whole or as a stream.

A causal layer pads on the left only; a non-causal one on both sides, the odd sample on the left. A strided layer is
padded on the right so that its last window is full: T = ceil(L / stride). Streams pass a state in and out and give,
chunk after chunk, what the whole input gives: a layer with a look-ahead (non-causal, or reflecting at its start)
holds its output back until the input is there.

Axes: B batch, C channels in, D channels out, L samples in, T samples out.
"""

import math
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm as normalised

from nexus.nn.layout import StepConv1d, StepConvTranspose1d, joined, pays, zeros

PadMode = Literal["reflect", "constant", "replicate"]


def pad(x: Float[Tensor, "B C L"], left: int, right: int, mode: PadMode) -> Float[Tensor, "B C T"]:
    """Pads in time; an input too short to reflect is first lengthened on the right by zeros, which are cut again."""
    if not (left or right):
        return x
    if mode != "reflect":
        return _join_edges(x, left, right, mode) if pays(x) else F.pad(x, (left, right), mode=mode)
    missing = max(max(left, right) - x.shape[-1] + 1, 0)
    if pays(x) and not missing:
        return _join_edges(x, left, right, mode)
    padded = F.pad(F.pad(x, (0, missing)), (left, right), mode="reflect")
    return padded[..., : padded.shape[-1] - missing]


def _join_edges(x: Tensor, left: int, right: int, mode: PadMode) -> Tensor:
    """`pad` in the layout of `nexus.nn.layout`, which F.pad would not keep."""
    n = x.shape[-1]
    if mode == "constant":
        before, after = zeros(x, left), zeros(x, right)
    elif mode == "replicate":
        before, after = x[..., :1].expand(-1, -1, left), x[..., -1:].expand(-1, -1, right)
    else:
        before, after = x[..., 1 : left + 1].flip(-1), x[..., n - 1 - right : n - 1].flip(-1)
    return joined(before, x, after)


class GroupNormed(nn.Module):
    """A convolution and a norm over all its outputs, channels and time: of the whole input, so never as a stream."""

    def __init__(self, conv: nn.Conv1d | nn.ConvTranspose1d):
        super().__init__()
        self.conv, self.norm = conv, nn.GroupNorm(1, conv.out_channels)

    def forward(self, x: Float[Tensor, "B C L"]) -> Float[Tensor, "B D T"]:
        y = self.conv(x)
        if not pays(y):
            return self.norm(y)
        steps, norm = y.mT, self.norm  # a group norm of its own would copy to PyTorch's layout, and the next layer back
        whole = F.layer_norm(steps.flatten(1), (steps[0].numel(),), eps=norm.eps).view_as(steps)
        return torch.addcmul(norm.bias, whole, norm.weight).mT


def _normed(conv: nn.Conv1d | nn.ConvTranspose1d, *, weight_norm: bool, group_norm: bool) -> nn.Module:
    if weight_norm and group_norm:
        raise ValueError("weight_norm and group_norm are two ways to norm a convolution; choose one")
    if group_norm:
        return GroupNormed(conv)
    return normalised(conv) if weight_norm else conv


@dataclass
class ConvState:
    """What a streamed convolution remembers: input that later windows need, and how much came and went."""

    buffer: Tensor
    tail: Tensor  # the last input samples, where padding at the end is made of them
    seen: int = 0  # input samples
    emitted: int = 0  # output frames


class Windows(nn.Module):
    """What is computed on windows of `extent` samples, `stride` apart: ceil(L / stride) frames, causal or centred.

    `inner` maps padded input [B, C, L] to the frames of its whole windows [B, D, T].
    """

    def __init__(
        self, inner: nn.Module, out_channels: int, *, extent: int, stride: int, causal: bool, pad_mode: PadMode
    ):
        super().__init__()
        if extent < stride:
            raise ValueError(
                f"a window must be at least as long as the stride, or samples are lost: {extent} < {stride}"
            )
        self.conv = inner
        self.out_channels, self.extent, self.stride = out_channels, extent, stride
        self.pad_mode: PadMode = pad_mode
        self.right = 0 if causal else (extent - stride) // 2
        self.left = extent - stride - self.right
        ending = self.right + stride - 1  # samples that the last window lacks at most
        self.reach = max(self.left, ending) if pad_mode == "reflect" else 0
        self.tail = {"reflect": ending + 1, "replicate": 1, "constant": 0}[pad_mode] if ending else 0

    def forward(self, x: Float[Tensor, "B C L"]) -> Float[Tensor, "B D T"]:
        if x.shape[-1] == 0:
            return self._nothing(x)
        extra = -x.shape[-1] % self.stride
        if not (self.left or self.right or extra):
            return self.conv(x)
        return self.conv(pad(x, self.left, self.right + extra, self.pad_mode))

    def stream(
        self, x: Float[Tensor, "B C L"], state: ConvState | None, last: bool = False
    ) -> tuple[Float[Tensor, "B D T"], ConvState]:
        """Frames whose windows are complete with chunk `x`; `last` pads and gives the rest. No state: the start."""
        state = state or ConvState(x[..., :0], x[..., :0])
        if self.extent == 1:  # nothing to remember
            return self(x), state
        buffer, seen, emitted = joined(state.buffer, x), state.seen + x.shape[-1], state.emitted
        tail = joined(state.tail, x[..., -self.tail :])[..., -self.tail :] if self.tail else state.tail
        if state.seen <= self.reach:  # still at the start: the buffer holds all input so far
            if last:
                return self(buffer), ConvState(buffer, tail, seen, emitted)
            if seen <= self.reach:
                return self._nothing(buffer), ConvState(buffer, tail, seen, emitted)
            buffer = pad(buffer, self.left, 0, self.pad_mode)
        n_frames = (buffer.shape[-1] - self.extent) // self.stride + 1
        if last:
            n_frames = -(-seen // self.stride) - emitted
            missing = max((n_frames - 1) * self.stride + self.extent - buffer.shape[-1], 0)
            ending = pad(tail, 0, missing, self.pad_mode)
            buffer = joined(buffer, ending[..., ending.shape[-1] - missing :])
        if n_frames <= 0:
            return self._nothing(buffer), ConvState(buffer, tail, seen, emitted)
        y = self.conv(buffer[..., : (n_frames - 1) * self.stride + self.extent])
        return y, ConvState(buffer[..., n_frames * self.stride :].clone(), tail, seen, emitted + n_frames)

    def _nothing(self, x: Tensor) -> Tensor:
        return x.new_zeros(x.shape[0], self.out_channels, 0)


class Conv1d(Windows):
    """Convolution over time."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        *,
        stride: int = 1,
        dilation: int = 1,
        groups: int = 1,
        bias: bool = True,
        causal: bool = False,
        pad_mode: PadMode = "constant",
        weight_norm: bool = False,
        group_norm: bool = False,
    ):
        conv = StepConv1d(
            in_channels, out_channels, kernel_size, stride=stride, dilation=dilation, groups=groups, bias=bias
        )
        super().__init__(
            _normed(conv, weight_norm=weight_norm, group_norm=group_norm),
            out_channels,
            extent=(kernel_size - 1) * dilation + 1,
            stride=stride,
            causal=causal,
            pad_mode=pad_mode,
        )


class ConvTranspose1d(nn.Module):
    """Transposed convolution that gives L * stride samples: what overlaps beyond them is cut.

    A causal layer cuts `trim_right_ratio` of it on the right; a non-causal one half on each side, the odd sample left.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        *,
        stride: int,
        groups: int = 1,
        bias: bool = True,
        causal: bool = False,
        trim_right_ratio: float = 1.0,
        weight_norm: bool = False,
        group_norm: bool = False,
    ):
        super().__init__()
        if kernel_size < stride:
            raise ValueError(f"kernel_size must be at least the stride, or samples are holes: {kernel_size} < {stride}")
        conv = StepConvTranspose1d(in_channels, out_channels, kernel_size, stride=stride, groups=groups, bias=bias)
        self.conv = _normed(conv, weight_norm=weight_norm, group_norm=group_norm)
        self.out_channels, self.stride = out_channels, stride
        total = kernel_size - stride
        self.left = total - (math.ceil(total * trim_right_ratio) if causal else total // 2)
        self.context = -(-kernel_size // stride) - 1  # earlier inputs that reach into an input's own samples

    def forward(self, x: Float[Tensor, "B C L"]) -> Float[Tensor, "B D T"]:
        return self.conv(x)[..., self.left : self.left + x.shape[-1] * self.stride]

    def stream(
        self, x: Float[Tensor, "B C L"], state: ConvState | None, last: bool = False
    ) -> tuple[Float[Tensor, "B D T"], ConvState]:
        """Samples that no later input can change; the cut on the left holds back as many until `last`."""
        state = state or ConvState(x[..., :0], x[..., :0])
        buffer, seen = joined(state.buffer, x), state.seen + x.shape[-1]
        end = seen * self.stride if last else max(seen * self.stride - self.left, 0)
        start = (seen - buffer.shape[-1]) * self.stride - self.left  # position of the buffer's first sample
        if end <= state.emitted:
            empty = x.new_zeros(x.shape[0], self.out_channels, 0)
            return empty, ConvState(buffer, state.tail, seen, state.emitted)
        y = self.conv(buffer)[..., state.emitted - start : end - start]
        # An input is needed as long as its window, or one that overlaps the next sample, is not done.
        first_needed = max((end + self.left) // self.stride - self.context, 0)
        kept = buffer[..., max(first_needed - (seen - buffer.shape[-1]), 0) :].clone()
        return y, ConvState(kept, state.tail, seen, end)


class LSTM(nn.Module):
    """LSTM over time with a skip around it, on channels-first input."""

    def __init__(self, dim: int, n_layers: int):
        super().__init__()
        self.lstm = nn.LSTM(dim, dim, n_layers, batch_first=True)

    def forward(self, x: Float[Tensor, "B C L"]) -> Float[Tensor, "B C L"]:
        return self.stream(x, None)[0]

    def stream(
        self, x: Float[Tensor, "B C L"], state: tuple[Tensor, Tensor] | None, last: bool = False
    ) -> tuple[Float[Tensor, "B C L"], tuple[Tensor, Tensor] | None]:
        if x.shape[-1] == 0:
            return x, state
        y, state = self.lstm(x.mT, state)
        return x + y.mT, state
