"""Layers in turn, whole or as a stream, and the same beside a shortcut: what convolutional codecs are built of.

A layer with a memory has `stream(x, state, last) -> (y, state)`, as those of `nexus.nn.conv`; one without is called.
Axes: B batch, C channels in, D channels out, L samples in, T samples out, U samples out of a stream's step.
"""

from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from nexus.nn.layout import joined


class Chain(nn.Module):
    def __init__(self, *layers: nn.Module):
        super().__init__()
        self.layers = nn.ModuleList(layers)

    def forward(self, x: Float[Tensor, "B C L"]) -> Float[Tensor, "B D T"]:
        for layer in self.layers:
            x = layer(x)
        return x

    def stream(self, x: Float[Tensor, "B C L"], state: Any, last: bool = False) -> tuple[Float[Tensor, "B D U"], Any]:
        """What no later input changes; `last` gives the rest. No state: the start."""
        states = list(state or [None] * len(self.layers))
        for i, layer in enumerate(self.layers):
            if hasattr(layer, "stream"):
                x, states[i] = layer.stream(x, states[i], last)  # type: ignore[operator]
            else:
                x = layer(x)
        return x, states


class Residual(Chain):
    """x plus what the layers, which keep its length, make of it."""

    def forward(self, x: Float[Tensor, "B D T"]) -> Float[Tensor, "B D T"]:
        return x + super().forward(x)

    def stream(self, x: Float[Tensor, "B D T"], state: Any, last: bool = False) -> tuple[Float[Tensor, "B D U"], Any]:
        waiting, inner = (x, None) if state is None else (joined(state[0], x), state[1])
        y, inner = super().stream(x, inner, last)
        n = y.shape[-1]
        return waiting[..., :n] + y, (waiting[..., n:].clone(), inner)
