"""Memory layout of sequences [B, C, T]: on a CPU, convolutions run fastest where a step's channels lie together.

Such a sequence is the transpose of a contiguous [B, T, C]; shapes and values are those of any other. Pointwise
functions keep the layout. Training keeps PyTorch's own, for its gradients.
Axes: B batch, C channels in, D channels out, L samples in, T samples out, K kernel; in clips F frames, H height,
W width.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn


def by_steps(x: Float[Tensor, "B C T"]) -> Float[Tensor, "B C T"]:
    """The same values, each step's channels side by side in memory."""
    return x.mT.contiguous().mT


def pays(x: Tensor) -> bool:
    """Whether the layout is worth it for this input."""
    return x.device.type == "cpu" and not torch.is_grad_enabled()


def joined(*parts: Float[Tensor, "B C _"]) -> Float[Tensor, "B C T"]:
    """Concatenation in time; of one part that is not empty, itself."""
    filled = [part for part in parts if part.shape[-1]] or [parts[0]]
    if len(filled) == 1:
        return filled[0]
    if not pays(filled[0]):
        return torch.cat(filled, dim=-1)
    return torch.cat([part.mT for part in filled], dim=1).mT


def joined_frames(*parts: Float[Tensor, "B C _ H W"]) -> Float[Tensor, "B C F H W"]:
    """Concatenation in time that leaves channels last in memory where the last part has them so; torch's does not."""
    if len(parts) == 1:
        return parts[0]
    if parts[-1].stride(1) != 1 or not pays(parts[-1]):
        return torch.cat(parts, dim=2)
    return torch.cat([part.permute(0, 2, 3, 4, 1) for part in parts], dim=1).permute(0, 4, 1, 2, 3)


def zeros(x: Float[Tensor, "B C L"], length: int) -> Float[Tensor, "B C T"]:
    """Silence to join to x."""
    return x.new_zeros(x.shape[0], length, x.shape[1]).mT


class StepConv1d(nn.Conv1d):
    """A convolution without padding that takes and gives the layout where it pays."""

    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        self.weight = nn.Parameter(by_steps(self.weight))

    def forward(self, input: Float[Tensor, "B C L"]) -> Float[Tensor, "B D T"]:
        if not pays(input):
            return super().forward(input)
        if self.kernel_size == self.stride == (1,) and self.groups == 1:  # torch's own way there is slow
            return F.linear(input.mT, self.weight[:, :, 0], self.bias).mT
        x, weight = by_steps(input)[:, :, None], by_steps(self.weight)[:, :, None]  # torch knows the layout in 2D
        return F.conv2d(x, weight, self.bias, (1, *self.stride), 0, (1, *self.dilation), self.groups)[:, :, 0]


class StepConvTranspose1d(nn.ConvTranspose1d):
    """A transposed convolution that takes and gives the layout where it pays."""

    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        self.weight = nn.Parameter(by_steps(self.weight))

    def forward(self, input: Float[Tensor, "B C L"], output_size: list[int] | None = None) -> Float[Tensor, "B D T"]:
        if output_size is not None or not pays(input):
            return super().forward(input, output_size)
        x, weight = by_steps(input)[:, :, None], by_steps(self.weight)[:, :, None]
        return F.conv_transpose2d(x, weight, self.bias, (1, *self.stride), groups=self.groups)[:, :, 0]
