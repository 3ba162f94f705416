"""Conditional flow matching on straight paths (arXiv:2210.02747) and the ODE solvers that sample it.

`x_t = (1 - t) * noise + t * data`, velocity `data - noise`, t from 0 (noise) to 1 (data). A field is any callable
`(x_t, t[B]) -> velocity`, conditioning already bound. Samplers are generator functions that yield the state after
every step, so that progress, preview and cancelling belong to whoever consumes them.
"""

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise

import torch
from jaxtyping import Bool, Float
from torch import Tensor

Field = Callable[[Tensor, Tensor], Tensor]


def interpolate(
    noise: Float[Tensor, " B *axes"], data: Float[Tensor, " B *axes"], t: Float[Tensor, " B"]
) -> Float[Tensor, " B *axes"]:
    """The point at time t on the straight path from noise to data."""
    t = t.reshape(-1, *[1] * (data.ndim - 1))
    return (1 - t) * noise + t * data


def flow_loss(
    field: Field,
    data: Float[Tensor, " B *axes"],
    noise: Float[Tensor, " B *axes"],
    t: Float[Tensor, " B"],
    where: Bool[Tensor, " B ..."] | None = None,
    weight: Float[Tensor, " B ..."] | None = None,
) -> Float[Tensor, " B"]:
    """Mean squared error of the velocity for each item.

    Args:
        where: the elements that count (broadcast to data), all others don't.
        weight: what each element counts; not made to have a mean of one.
    """
    error = (field(interpolate(noise, data, t), t).float() - (data - noise).float()).square()
    error = error if weight is None else error * weight
    if where is None:
        return error.flatten(1).mean(dim=1)
    counted = where.expand_as(error).flatten(1)
    return (error.flatten(1) * counted).sum(dim=1) / counted.sum(dim=1).clamp(min=1)


def logit_normal(n: int, generator: torch.Generator, mean: float = 0.0, std: float = 1.0) -> Float[Tensor, " B"]:
    """Times whose logit is normal (arXiv:2403.03206, eq. 19); a mean below 0 favours the noisy side."""
    return torch.sigmoid(mean + std * torch.randn(n, generator=generator))


def uniform_times(steps: int) -> Float[Tensor, " N"]:
    """`steps + 1` evenly spaced times from 0 to 1."""
    if steps < 1:
        raise ValueError(f"steps must be at least 1, got {steps}")
    return torch.linspace(0, 1, steps + 1)


def sway(times: Float[Tensor, " N"], coefficient: float | int = -1.0) -> Float[Tensor, " N"]:
    """Sway sampling (F5-TTS, arXiv:2410.06885, eq. 7): coefficients below 0 spend more steps near the noise."""
    if not -1 <= coefficient <= 2 / (math.pi - 2):
        raise ValueError(f"sway coefficient must be in [-1, {2 / (math.pi - 2):.2f}] to keep order, got {coefficient}")
    return times + coefficient * (torch.cos(math.pi / 2 * times) - 1 + times)


def euler(field: Field, noise: Float[Tensor, " B *axes"], times: Float[Tensor, " N"]) -> Iterator[Tensor]:
    """First order: one field evaluation a step."""
    x = noise
    for t, step, batch_t in _steps(times, noise):
        x = x + step * field(x, batch_t(t))
        yield x


def midpoint(field: Field, noise: Float[Tensor, " B *axes"], times: Float[Tensor, " N"]) -> Iterator[Tensor]:
    """Second order: the velocity at the middle of each step, two evaluations."""
    x = noise
    for t, step, batch_t in _steps(times, noise):
        middle = x + step / 2 * field(x, batch_t(t))
        x = x + step * field(middle, batch_t(t + step / 2))
        yield x


def heun(field: Field, noise: Float[Tensor, " B *axes"], times: Float[Tensor, " N"]) -> Iterator[Tensor]:
    """Second order: the mean of the velocities at both ends of each step, two evaluations."""
    x = noise
    for t, step, batch_t in _steps(times, noise):
        start = field(x, batch_t(t))
        end = field(x + step * start, batch_t(t + step))
        x = x + step / 2 * (start + end)
        yield x


def _steps(times: Tensor, like: Tensor) -> Iterator[tuple[Tensor, Tensor, Callable[[Tensor], Tensor]]]:
    times = times.to(device=like.device, dtype=like.dtype)
    for t, following in pairwise(times):
        yield t, following - t, lambda moment: moment.expand(len(like))


def last(states: Iterable[Tensor]) -> Tensor:
    """The final state of a sampler.

    Raises:
        ValueError: the sampler made no step (fewer than two times).
    """
    final = deque(states, maxlen=1)
    if not final:
        raise ValueError("the sampler made no step; give at least two times")
    return final[0]
