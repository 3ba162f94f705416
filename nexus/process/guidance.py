"""Guidance: without a classifier (arXiv:2207.12598), where two fields become one, and by one (arXiv:2105.05233).

Convention here: `null + guidance_scale * (cond - null)`, so 1 is no guidance and 0 ignores the condition.
F5-TTS and Voicebox write `cond + s * (cond - null)`; their s is `guidance_scale - 1`.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from nexus.process.diffusion import DataField
from nexus.process.levels import Level

Field = Callable[[Tensor, Tensor], Tensor]


def extrapolate(cond: Tensor, null: Tensor, guidance_scale: Tensor | float | int) -> Tensor:
    """`null + guidance_scale * (cond - null)`; a tensor of scales has one for each item."""
    return null + guidance_scale * (cond - null)


def guided(cond_field: Field, null_field: Field, guidance_scale: float | int) -> Field:
    """Guides one field away from another; at scale 1 the null field is not evaluated."""
    if guidance_scale == 1:
        return cond_field

    def field(x_t: Tensor, t: Tensor) -> Tensor:
        return extrapolate(cond_field(x_t, t), null_field(x_t, t), guidance_scale)

    return field


def guided_halves(field: Field, guidance_scale: Tensor | float | int, rescale: float | int = 0) -> Field:
    """The same in one pass: `field` takes a doubled batch whose first half is conditional and second half null.

    Args:
        rescale: how far the spread of the answer is taken back to what it was without guidance (`rescaled`).
    """

    def halves(x_t: Tensor, t: Tensor) -> Tensor:
        cond, null = field(torch.cat([x_t, x_t]), torch.cat([t, t])).chunk(2)
        answer = extrapolate(cond, null, guidance_scale)
        return rescaled(answer, cond, rescale) if rescale else answer

    return halves


def rescaled(
    answer: Float[Tensor, " B *axes"], cond: Float[Tensor, " B *axes"], share: float | int
) -> Float[Tensor, " B *axes"]:
    """A guided answer with each item's standard deviation taken towards the unguided one's (arXiv:2305.08891, 3.4).

    Guidance widens it, which shows as pictures that are over-exposed; most of all where the last step is pure noise.
    """
    axes = tuple(range(1, answer.ndim))
    shrunk = answer * (cond.std(axes, keepdim=True) / answer.std(axes, keepdim=True))
    return share * shrunk + (1 - share) * answer


def classifier_guided(
    field: DataField, log_prob: Callable[[Tensor, Level], Tensor], guidance_scale: float | int
) -> DataField:
    """Moves the estimate of the data up the gradient of log p(class | x) (arXiv:2105.05233, section 4.2).

    By Bayes' rule the score of p(x | class) is that of p(x) plus this gradient, and the estimate of the data moves by
    sigma^2 / alpha of what the score moves by; at scale 1 it is exactly the conditional one.

    Args:
        log_prob: of each item's class at a noisy x [B, ...] of that level, [B].
    """

    def estimate(x: Tensor, level: Level) -> Tensor:
        with torch.enable_grad():
            noisy = x.detach().requires_grad_()
            (gradient,) = torch.autograd.grad(log_prob(noisy, level).sum(), noisy)
        return field(x, level) + guidance_scale * level.sigma**2 / level.alpha * gradient

    return estimate
