"""How far networks of convolutions see into the future: what their streams wait for."""

from torch import nn

from nexus.nn.branches import Mean
from nexus.nn.chain import Chain
from nexus.nn.conv import ConvTranspose1d, Windows


def needed(layer: nn.Module, n: int) -> int:
    """How many input samples the first `n` output samples depend on, in the middle of a long input.

    A layer with memory of another kind says by an attribute `look_ahead` how many samples after its own a sample needs.
    """
    if isinstance(layer, Windows):
        return n * layer.stride + layer.right
    if isinstance(layer, ConvTranspose1d):
        return (n - 1 + layer.left) // layer.stride + 1
    if isinstance(layer, Mean):
        return max(needed(branch, n) for branch in layer.branches)
    if isinstance(layer, Chain):
        for inner in reversed(layer.layers):
            n = needed(inner, n)
        return n
    return n + getattr(layer, "look_ahead", 0)
