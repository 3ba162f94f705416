"""Layer-sequential unit variance (arXiv:1511.06422): weights start at the size at which signals keep theirs.

Deep generators of HiFi-GAN's kind halve a signal at every layer as torch initialises them; a quantiser behind one sees
a constant.
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils import parametrize

from nexus.nn.chain import Residual


@torch.no_grad()
def keep_variance(network: nn.Module, x: Float[Tensor, "B C L"]) -> Tensor:
    """Scales each convolution on the way of `x` to outputs of mean square 1, its bias 0, and gives the last one's.

    Those beside a shortcut stay small, so that it leads.
    """
    beside = {inner for module in network.modules() if isinstance(module, Residual) for inner in module.modules()}

    def scale(conv: nn.Module, inputs: Any, output: Tensor) -> Tensor:
        size = output.square().mean().sqrt().clamp(min=1e-12)
        weight = conv.weight / size  # type: ignore[operator]
        if parametrize.is_parametrized(conv):
            conv.weight = weight  # split into size and direction
        else:
            conv.weight.copy_(weight)  # type: ignore[operator]
        return output / size

    convolutions = [m for m in network.modules() if isinstance(m, nn.Conv1d | nn.ConvTranspose1d)]
    for conv in convolutions:
        assert conv.bias is not None
        nn.init.zeros_(conv.bias)
    hooks = [conv.register_forward_hook(scale) for conv in convolutions if conv not in beside]
    try:
        return network(x)
    finally:
        for hook in hooks:
            hook.remove()
