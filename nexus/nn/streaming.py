"""Layers in a row and side by side, over the whole input or over a stream of its chunks.

A layer with memory has `stream(x, state, last)`, which gives the samples that no later input changes and its new
state (None is the start, `last` gives the rest); a layer without memory is just called. So networks of layers that
stream do so themselves, causal or not: what looks ahead holds its output back.

Axes: B batch, C channels in, D channels out, L samples in, T samples out, U samples out of a stream's step.
"""

from fractions import Fraction
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from nexus.nn.conv import ConvTranspose1d, Windows


class Chain(nn.Sequential):
    """Layers in turn."""

    def stream(
        self, x: Float[Tensor, "B C L"], state: list[Any] | None, last: bool = False
    ) -> tuple[Float[Tensor, "B D U"], list[Any]]:
        states = list(state or [None] * len(self))
        for i, layer in enumerate(self):
            x, states[i] = step(layer, x, states[i], last)
        return x, states


class Sum(nn.Module):
    """The sum of what several layers make of one input, each giving as many samples; a stream waits for the slowest."""

    def __init__(self, *branches: nn.Module):
        super().__init__()
        self.branches = nn.ModuleList(branches)

    def forward(self, x: Float[Tensor, "B C L"]) -> Float[Tensor, "B D T"]:
        total = self.branches[0](x)
        for branch in self.branches[1:]:
            total = total + branch(x)
        return total

    def stream(
        self, x: Float[Tensor, "B C L"], state: list[tuple[Tensor, Any]] | None, last: bool = False
    ) -> tuple[Float[Tensor, "B D U"], list[tuple[Tensor, Any]]]:
        outputs, states = [], []
        for i, branch in enumerate(self.branches):
            waiting, inner = state[i] if state else (None, None)
            y, inner = step(branch, x, inner, last)
            outputs.append(y if waiting is None else torch.cat([waiting, y], dim=-1))
            states.append(inner)
        n = min(y.shape[-1] for y in outputs)
        total = outputs[0][..., :n]
        for y in outputs[1:]:
            total = total + y[..., :n]
        return total, [(y[..., n:], inner) for y, inner in zip(outputs, states, strict=True)]


class Scale(nn.Module):
    """Times a constant."""

    def __init__(self, factor: float):
        super().__init__()
        self.factor = factor

    def forward(self, x: Float[Tensor, "B C L"]) -> Float[Tensor, "B C L"]:
        return x * self.factor


def residual(*layers: nn.Module) -> Sum:
    """x + layers(x)."""
    return Sum(nn.Identity(), Chain(*layers))


def step(layer: nn.Module, x: Tensor, state: Any, last: bool) -> tuple[Tensor, Any]:
    """A chunk through one layer."""
    return layer.stream(x, state, last) if hasattr(layer, "stream") else (layer(x), None)  # type: ignore[operator]


def look_ahead(layer: nn.Module) -> Fraction:
    """Input samples after a sample's own place that its output needs: what a stream waits for.

    A layer with memory of another kind says it by an attribute `look_ahead`.
    """
    return _reach(layer)[0]


def _reach(layer: nn.Module) -> tuple[Fraction, Fraction]:
    """Look-ahead in input samples, and how many of them one output sample stands for."""
    if isinstance(layer, Windows):
        return Fraction(layer.right), Fraction(layer.stride)
    if isinstance(layer, ConvTranspose1d):
        return Fraction(layer.left, layer.stride), Fraction(1, layer.stride)
    if isinstance(layer, Sum):
        return max(_reach(branch) for branch in layer.branches)
    if not isinstance(layer, Chain):
        return Fraction(getattr(layer, "look_ahead", 0)), Fraction(1)
    ahead, samples = Fraction(0), Fraction(1)
    for inner in layer:
        inner_ahead, inner_samples = _reach(inner)
        ahead += inner_ahead * samples
        samples *= inner_samples
    return ahead, samples
