"""Layers side by side, whole or as a stream: the multi-receptive-field fusion of HiFi-GAN (arXiv:2010.05646, 2.2).

Axes: B batch, C channels in, D channels out, L samples in, T samples out, U samples out of a stream's step.
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn


class Mean(nn.Module):
    """The mean of what several layers, all with `stream`, make of one input; a stream waits for the slowest."""

    def __init__(self, *branches: nn.Module):
        super().__init__()
        self.branches = nn.ModuleList(branches)

    def forward(self, x: Float[Tensor, "B C L"]) -> Float[Tensor, "B D T"]:
        total = self.branches[0](x)
        for branch in self.branches[1:]:
            total = total + branch(x)
        return total / len(self.branches)

    def stream(
        self, x: Float[Tensor, "B C L"], state: list[tuple[Tensor, Any]] | None, last: bool = False
    ) -> tuple[Float[Tensor, "B D U"], list[tuple[Tensor, Any]]]:
        """What no later input changes; `last` gives the rest. No state: the start."""
        outputs, states = [], []
        for i, branch in enumerate(self.branches):
            waiting, inner = state[i] if state else (None, None)
            y, inner = branch.stream(x, inner, last)  # type: ignore[operator]
            outputs.append(y if waiting is None else torch.cat([waiting, y], dim=-1))
            states.append(inner)
        n = min(y.shape[-1] for y in outputs)
        total = outputs[0][..., :n]
        for y in outputs[1:]:
            total = total + y[..., :n]
        return total / len(outputs), [(y[..., n:], inner) for y, inner in zip(outputs, states, strict=True)]
