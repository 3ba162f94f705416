"""Discrete diffusion (arXiv:2006.11239): the forward process, what a network predicts of it, and the loss.

A network is a field `(x_t, step[B]) -> prediction`. Predictions: "noise" (epsilon), "velocity"
(`alpha * noise - sigma * data`, arXiv:2202.00512) or "data" (x_0). Solvers see only its estimate of the data.
"""

from collections.abc import Callable
from typing import Literal

from jaxtyping import Float, Int
from torch import Tensor

from nexus.process.schedule import NoiseSchedule

Field = Callable[[Tensor, Tensor], Tensor]
Prediction = Literal["noise", "velocity", "data"]


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
    return noise if prediction == "noise" else data


def diffusion_loss(
    field: Field,
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


def data_field(field: Field, schedule: NoiseSchedule, prediction: Prediction) -> Field:
    """The field's estimate of the data, which is what solvers take.

    Raises:
        ValueError: a noise prediction with zero terminal SNR, where it says nothing about the data.
    """
    if prediction == "noise" and schedule.signal[-1] == 0:
        raise ValueError("a noise prediction gives no data where no signal is left; predict velocity or data instead")

    def estimate(x_t: Tensor, step: Tensor) -> Tensor:
        alpha, sigma = levels(schedule, step, x_t)
        answer = field(x_t, step)
        if prediction == "velocity":
            return alpha * x_t - sigma * answer
        return (x_t - sigma * answer) / alpha if prediction == "noise" else answer

    return estimate
