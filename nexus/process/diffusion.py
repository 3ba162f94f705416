"""Discrete diffusion (arXiv:2006.11239): the forward process, what a network predicts of it, and the loss.

A network is a function `(x_t, step[B]) -> prediction`. Predictions: "noise" (epsilon), "velocity"
(`alpha * noise - sigma * data`, arXiv:2202.00512), "data" (x_0) or, on straight paths, "flow" (`noise - data`).
Solvers see only its estimate of the data at a level.
"""

from collections.abc import Callable
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from nexus.process.levels import Level
from nexus.process.schedule import NoiseSchedule

Network = Callable[[Tensor, Tensor], Tensor]
DataField = Callable[[Tensor, Level], Tensor]  # (x [B, ...], its level) to an estimate of the data [B, ...]
Prediction = Literal["noise", "velocity", "data", "flow"]


def levels(schedule: NoiseSchedule, step: Int[Tensor, " B"], like: Tensor) -> tuple[Tensor, Tensor]:
    """alpha and sigma of each item's step, shaped to multiply `like` and in its dtype."""
    shape = (-1, *[1] * (like.ndim - 1))
    return schedule.alpha(step).to(like).reshape(shape), schedule.sigma(step).to(like).reshape(shape)


def diffuse(
    schedule: NoiseSchedule,
    data: Float[Tensor, " B *axes"],
    noise: Float[Tensor, " B *axes"],
    step: Int[Tensor, " B"],
) -> Float[Tensor, " B *axes"]:
    """A sample of q(x_t | data) (eq. 4)."""
    alpha, sigma = levels(schedule, step, data)
    return alpha * data + sigma * noise


def target(
    schedule: NoiseSchedule,
    data: Float[Tensor, " B *axes"],
    noise: Float[Tensor, " B *axes"],
    step: Int[Tensor, " B"],
    prediction: Prediction,
) -> Float[Tensor, " B *axes"]:
    """What a network with this prediction should answer."""
    alpha, sigma = levels(schedule, step, data)
    if prediction == "velocity":
        return alpha * noise - sigma * data
    if prediction == "flow":
        return noise - data
    return noise if prediction == "noise" else data


def diffusion_loss(
    field: Network,
    schedule: NoiseSchedule,
    data: Float[Tensor, " B *axes"],
    noise: Float[Tensor, " B *axes"],
    step: Int[Tensor, " B"],
    prediction: Prediction,
    weight: Float[Tensor, " B *axes"] | None = None,
) -> Float[Tensor, " B"]:
    """Mean squared error of the prediction for each item (the simple loss, eq. 14), weighted by `weight` if given."""
    error = field(diffuse(schedule, data, noise, step), step) - target(schedule, data, noise, step, prediction)
    square = error.float().square()
    return (square if weight is None else weight * square).flatten(1).mean(dim=1)


def spread_steps(n: int, schedule: NoiseSchedule, generator: torch.Generator) -> Int[Tensor, " B"]:
    """Steps drawn evenly, one in each n-th of the schedule, so that the loss of a batch varies little."""
    places = (torch.arange(n) + torch.rand(n, generator=generator)) / n
    return (places * schedule.n_steps).long().clamp(max=schedule.n_steps - 1)


def data_field(network: Network, prediction: Prediction) -> DataField:
    """The network's estimate of the data, which is what solvers take.

    Raises (when it is asked there):
        ValueError: a noise prediction where no signal is left: it says nothing about the data.
    """

    def estimate(x: Tensor, level: Level) -> Tensor:
        if prediction == "noise" and level.alpha == 0:
            raise ValueError(
                "a noise prediction gives no data where no signal is left; predict velocity or data instead"
            )
        return data_of(network(x, level.times(x)), x, level.alpha, level.sigma, prediction)

    return estimate


def data_of(
    answer: Tensor, x: Tensor, alpha: Tensor | float | int, sigma: Tensor | float | int, prediction: Prediction
) -> Tensor:
    """The data that a network's answer says is in `x = alpha * data + sigma * noise`."""
    if prediction == "data":
        return answer
    if prediction == "flow":
        return (x - sigma * answer) / (alpha + sigma)
    if prediction == "velocity":
        return alpha * x - sigma * answer
    return (x - sigma * answer) / alpha


def clipped(field: DataField, most: float | int = 1.0) -> DataField:
    """Estimates within -most to most, as DDPM does with pixels."""
    return lambda x, level: field(x, level).clamp(-most, most)


def dynamically_clipped(field: DataField, quantile: float = 0.995, most: float | int = 1.0) -> DataField:
    """Dynamic thresholding (Imagen, arXiv:2205.11487, section 2.3).

    Each item is clipped at a quantile of its absolute values (between 1 and `most`) and divided by it.
    """

    def estimate(x: Tensor, level: Level) -> Tensor:
        data = field(x, level)
        limit = data.flatten(1).abs().float().quantile(quantile, dim=1).clamp(min=1, max=max(most, 1.0))
        limit = limit.to(data.dtype).reshape(-1, *[1] * (data.ndim - 1))
        return data.clamp(-limit, limit) / limit

    return estimate
