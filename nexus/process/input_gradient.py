"""Penalties on a critic's gradient with respect to what it judges, of WGAN-GP (arXiv:1704.00028) and R1
(arXiv:1801.04406).

Each item's gradient is taken through the sum of the logits, which is exact as long as items do not see one another: not
with batch norm. Axes: B batch, the others are an item's.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

Critic = Callable[[Tensor], Tensor]  # [B, ...] to logits [B]


def input_gradient(critic: Critic, x: Float[Tensor, "B ..."]) -> Float[Tensor, "B ..."]:
    """Gradient of each item's logit with respect to that item, differentiable once more."""
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(critic(x).sum(), x, create_graph=True)
    return gradient


def gradient_penalty(
    critic: Critic, real: Float[Tensor, "B ..."], fake: Float[Tensor, "B ..."], rng: torch.Generator
) -> Float[Tensor, ""]:
    """Mean of (|gradient| - 1)^2 at places drawn evenly between pairs of real and fake (WGAN-GP, eq. 3)."""
    share = torch.rand(len(real), generator=rng).to(real).view(-1, *[1] * (real.ndim - 1))
    gradient = input_gradient(critic, fake.detach().lerp(real, share))
    return (gradient.flatten(1).norm(dim=1) - 1).square().mean()


def r1(critic: Critic, real: Float[Tensor, "B ..."]) -> Float[Tensor, ""]:
    """Mean of |gradient|^2 at real items; the paper weighs it with gamma / 2 (eq. 9)."""
    return input_gradient(critic, real).flatten(1).square().sum(1).mean()
