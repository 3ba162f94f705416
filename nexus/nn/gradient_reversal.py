"""Gradient reversal (arXiv:1409.7495): the identity forward, the gradient's opposite backward.

What follows it learns to tell something from a representation, which thereby unlearns to hold it.
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor


class _Reversal(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> Tensor:
        return -grad_outputs[0]


def reverse_gradient(x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """`x`, whose gradients change their sign."""
    return _Reversal.apply(x)  # type: ignore[return-value]
