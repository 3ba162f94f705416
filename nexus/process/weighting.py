"""How much each step counts in the loss of a diffusion model: factors of the mean squared error of its prediction.

Axes: B items. `snr` is (alpha / sigma)^2.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from nexus.process.diffusion import Prediction
from nexus.process.schedule import NoiseSchedule


def snr(schedule: NoiseSchedule, step: Int[Tensor, " B"]) -> Float[Tensor, " B"]:
    signal = schedule.alpha(step) ** 2
    return signal / (1 - signal)


def in_units_of(prediction: Prediction, snr: Float[Tensor, " B"]) -> Float[Tensor, " B"]:
    """By how much the error of the data, squared, is larger than that of the prediction, squared.

    Raises:
        ValueError: a flow, which does not keep the variance as these schedules do.
    """
    if prediction == "flow":
        raise ValueError("weights by signal-to-noise ratio are for noise, velocity and data; flows weight their times")
    return {"data": torch.ones_like(snr), "noise": 1 / snr, "velocity": 1 / (snr + 1)}[prediction]


def min_snr(
    schedule: NoiseSchedule, step: Int[Tensor, " B"], prediction: Prediction, gamma: float | int = 5.0
) -> Float[Tensor, " B"]:
    """Min-SNR-gamma (arXiv:2303.09556): the data's error counts as the SNR, but never more than gamma."""
    ratio = snr(schedule, step)
    return ratio.clamp(max=gamma) * in_units_of(prediction, ratio)


def p2(
    schedule: NoiseSchedule,
    step: Int[Tensor, " B"],
    prediction: Prediction,
    gamma: float | int = 1.0,
    k: float | int = 1.0,
) -> Float[Tensor, " B"]:
    """P2 (arXiv:2204.00227, eq. 8): the noise's error counts 1 / (k + SNR)^gamma; what is almost clean, little."""
    ratio = snr(schedule, step)
    return ratio / (k + ratio) ** gamma * in_units_of(prediction, ratio)
