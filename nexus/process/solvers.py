"""Solvers of discrete diffusion: generator functions of (field, noise, schedule, steps) that yield each state.

`field(x_t, step[B])` estimates the data (`nexus.process.diffusion.data_field`); `steps` falls and ends with -1, the
data. Whoever consumes the states shows progress, previews, or stops; `nexus.process.flow.last` takes the result.
"""

from collections.abc import Iterator
from itertools import pairwise

import torch
from jaxtyping import Float, Int
from torch import Tensor

from nexus.process.diffusion import Field
from nexus.process.noise import gaussian
from nexus.process.schedule import NoiseSchedule


def ddim(
    field: Field,
    noise: Float[Tensor, " B *axes"],
    schedule: NoiseSchedule,
    steps: Int[Tensor, " n"],
    *,
    eta: float = 0.0,
    rngs: list[torch.Generator] | None = None,
) -> Iterator[Float[Tensor, " B *axes"]]:
    """DDIM (arXiv:2010.02502, eq. 12); eta 0 is deterministic, 1 has DDPM's variance and needs a generator per item."""
    if eta and rngs is None:
        raise ValueError("DDIM with eta above 0 draws noise: give `rngs`, one generator per item")
    x = noise
    for now, after in pairwise(steps):
        alpha, sigma = schedule.alpha(now), schedule.sigma(now)
        next_alpha, next_sigma = schedule.alpha(after), schedule.sigma(after)
        data = field(x, now.expand(len(x)))
        # The noise in x is what is left when the estimated data is taken out; with no noise left there is none.
        direction = (x - float(alpha) * data) / max(float(sigma), 1e-12)
        drawn = eta * next_sigma / sigma * (1 - alpha**2 / next_alpha**2).clamp(min=0).sqrt()
        x = float(next_alpha) * data + float((next_sigma**2 - drawn**2).clamp(min=0).sqrt()) * direction
        if rngs is not None and eta and after >= 0:
            x = x + float(drawn) * _fresh(x, rngs)
        yield x


def ddpm(
    field: Field,
    noise: Float[Tensor, " B *axes"],
    schedule: NoiseSchedule,
    steps: Int[Tensor, " n"],
    *,
    rngs: list[torch.Generator],
) -> Iterator[Float[Tensor, " B *axes"]]:
    """Ancestral sampling from the posterior q(x_s | x_t, data) with its variance (arXiv:2006.11239, eq. 6, 7)."""
    x = noise
    for now, after in pairwise(steps):
        signal, next_signal = schedule.alpha(now) ** 2, schedule.alpha(after) ** 2
        kept = signal / next_signal  # alpha_t of the step between, 1 - beta_t
        data = field(x, now.expand(len(x)))
        of_data = next_signal.sqrt() * (1 - kept) / (1 - signal)
        of_x = kept.sqrt() * (1 - next_signal) / (1 - signal)
        x = float(of_data) * data + float(of_x) * x
        if after >= 0:
            variance = (1 - next_signal) / (1 - signal) * (1 - kept)
            x = x + float(variance.clamp(min=1e-20).sqrt()) * _fresh(x, rngs)
        yield x


def dpmpp_2m(
    field: Field, noise: Float[Tensor, " B *axes"], schedule: NoiseSchedule, steps: Int[Tensor, " n"]
) -> Iterator[Float[Tensor, " B *axes"]]:
    """DPM-Solver++(2M) (arXiv:2211.01095, algorithm 2); its first and its last step are of first order."""
    x, before, width_before = noise, None, None
    for now, after in pairwise(steps):
        alpha, sigma = schedule.alpha(now), schedule.sigma(now)
        next_alpha, next_sigma = schedule.alpha(after), schedule.sigma(after)
        data = field(x, now.expand(len(x)))
        if after < 0:
            yield data
            return
        # The step's width in half the log of the signal-to-noise ratio; infinite from pure noise.
        width = (next_alpha / next_sigma).log() - (alpha / sigma).log()
        slope = data
        if before is not None and width_before is not None:
            slope = data + float(0.5 * width / width_before) * (data - before)
        x = float(next_sigma / sigma) * x - float(next_alpha * torch.expm1(-width)) * slope
        before, width_before = data, width
        yield x


def _fresh(x: Tensor, rngs: list[torch.Generator]) -> Tensor:
    return gaussian(tuple(x.shape[1:]), rngs, device=x.device, dtype=x.dtype)
