"""Consistency distillation of straight flows (arXiv:2310.04378 on arXiv:2209.03003's paths): few steps for many.

A velocity field v gives a state's end at once, `x - sigma * v(x, sigma)`, which at sigma 0 is the state itself. The
student learns to say the same end for two states of the teacher's guided path, the lower one held.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from nexus.process.consistency import pseudo_huber

Velocity = Callable[[Tensor, Tensor], Tensor]  # (x [B, ...], sigma [B]) to noise - data


def consistency_levels(n: int, shift: float | int = 1.0) -> Float[Tensor, " N"]:
    """`n` noise levels from 1 down, evenly spaced and then shifted towards noise; then 0."""
    if n < 1 or shift <= 0:
        raise ValueError(f"consistency needs at least one level and a shift above 0, got {n} and {shift:g}")
    sigma = torch.linspace(1, 0, n + 1, dtype=torch.float64)
    return (shift * sigma / (1 + (shift - 1) * sigma)).float()


def end_of(velocity: Velocity, x: Float[Tensor, " B *axes"], sigma: Float[Tensor, " B"]) -> Float[Tensor, " B *axes"]:
    """Where the path through x ends, in the student's eyes."""
    return x - sigma.reshape(-1, *[1] * (x.ndim - 1)) * velocity(x, sigma)


def distillation_loss(
    student: Velocity,
    teacher: Velocity,
    data: Float[Tensor, " B *axes"],
    noise: Float[Tensor, " B *axes"],
    levels: Float[Tensor, " N"],
    index: Int[Tensor, " B"],
) -> Float[Tensor, " B"]:
    """How far the student's ends of two states of the teacher's path are apart (pseudo-Huber).

    Args:
        teacher: guided, if the student is to learn guidance too.
        levels: falling, from `consistency_levels`.
        index: of each item's upper level; the lower one is the next.
    """
    high, low = (levels[i].to(data).reshape(-1, *[1] * (data.ndim - 1)) for i in (index, index + 1))
    upper = (1 - high) * data + high * noise
    with torch.no_grad():
        lower = upper + (low - high) * teacher(upper, high.flatten())
        held = end_of(student, lower, low.flatten())
    return pseudo_huber(end_of(student, upper, high.flatten()), held)
