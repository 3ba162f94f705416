"""Noise schedules of discrete diffusion (arXiv:2006.11239): how much signal is left at each of N training steps.

`x_t = alpha * data + sigma * noise` with `alpha^2 + sigma^2 = 1`; step 0 is nearly data, step N - 1 nearly noise.
Tables are float64.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int, Real
from torch import Tensor

from nexus.process.levels import DATA, Level, Path


@dataclass(frozen=True, eq=False)
class NoiseSchedule:
    """`signal` [N] is alpha squared (the cumulative product of 1 - beta), falling from step to step."""

    signal: Float[Tensor, " N"]

    def __post_init__(self):
        falling = bool((self.signal.diff() < 0).all())
        if not falling or self.signal[0] > 1 or self.signal[-1] < 0:
            raise ValueError("a noise schedule must fall from at most 1 to at least 0")

    @property
    def n_steps(self) -> int:
        return len(self.signal)

    def alpha(self, step: Int[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Factor of the data; step -1 is the data itself."""
        return self._at(step).sqrt()

    def sigma(self, step: Int[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Factor of the noise."""
        return (1 - self._at(step)).sqrt()

    def _at(self, step: Tensor) -> Tensor:
        signal = self.signal[step.cpu().clamp(min=0)]
        return torch.where(step.cpu() < 0, torch.ones_like(signal), signal)

    @property
    def ratios(self) -> Float[Tensor, " N"]:
        """sigma / alpha of every step, rising."""
        return ((1 - self.signal) / self.signal).sqrt()

    def step_of(self, ratio: Float[Tensor, " B"]) -> Float[Tensor, " B"]:
        """The step, between two by the logarithm, at which sigma / alpha is so; the first or last beyond them."""
        known = self.ratios.log().numpy()
        steps = np.interp(ratio.double().log().cpu().numpy(), known, np.arange(self.n_steps))
        return torch.from_numpy(steps).to(ratio)

    def between(self, step: Real[Tensor, " B"]) -> tuple[Float[Tensor, " B"], Float[Tensor, " B"]]:
        """alpha and sigma of steps, between two by the logarithm of sigma / alpha."""
        known = self.ratios.log().numpy()
        logs = np.interp(step.double().cpu().numpy(), np.arange(self.n_steps), known)
        alpha = torch.from_numpy(1 / np.sqrt(1 + np.exp(2 * logs)))
        return alpha, (1 - alpha**2).sqrt()

    def path(self, times: Real[Tensor, " n"]) -> Path:
        """The levels at these steps; -1 is the data, between two steps the ratio sigma / alpha is interpolated."""
        return [self._level(time) for time in times.tolist()]

    def path_of(self, ratios: Iterable[float | int], whole_steps: bool = False) -> Path:
        """The levels of these ratios sigma / alpha (`karras`, `exponential`), then the data.

        The network is told the step that has such a ratio, by its logarithm between two; or the nearest `whole_steps`.
        """
        known, path = self.ratios.log().numpy(), []
        for ratio in ratios:
            time = float(np.interp(math.log(ratio), known, np.arange(self.n_steps)))
            path.append(_variance_kept(ratio, round(time) if whole_steps else time))
        return [*path, DATA]

    def _level(self, time: float | int) -> Level:
        if time < 0:
            return DATA
        if time == int(time):
            signal = float(self.signal[int(time)])
            return Level(math.sqrt(signal), math.sqrt(1 - signal), time)
        return _variance_kept(float(np.interp(time, np.arange(self.n_steps), self.ratios.numpy())), time)


def _variance_kept(ratio: float | int, time: float | int) -> Level:
    """The level of that ratio at which the squares of alpha and sigma sum to one."""
    alpha = 1 / math.sqrt(1 + ratio**2)
    return Level(alpha, ratio * alpha, time)


def from_betas(betas: Float[Tensor, " N"]) -> NoiseSchedule:
    return NoiseSchedule((1 - betas.double()).cumprod(0))


def linear(n_steps: int = 1000, start: float = 1e-4, end: float = 0.02) -> NoiseSchedule:
    """DDPM's linear betas (arXiv:2006.11239, section 4)."""
    return from_betas(torch.linspace(start, end, n_steps, dtype=torch.float64))


def scaled_linear(n_steps: int = 1000, start: float = 0.00085, end: float = 0.012) -> NoiseSchedule:
    """Betas whose square roots are linear (latent diffusion, arXiv:2112.10752)."""
    return from_betas(torch.linspace(start**0.5, end**0.5, n_steps, dtype=torch.float64) ** 2)


def cosine(n_steps: int = 1000, offset: float = 0.008, max_beta: float = 0.999) -> NoiseSchedule:
    """Improved DDPM's cosine (arXiv:2102.09672, eq. 17); betas are capped so that the last step keeps some signal."""
    t = torch.arange(n_steps + 1, dtype=torch.float64) / n_steps
    signal = torch.cos((t + offset) / (1 + offset) * math.pi / 2) ** 2
    return from_betas((1 - signal[1:] / signal[:-1]).clamp(max=max_beta))


def sigmoid(n_steps: int = 1000, start: float = 1e-4, end: float = 0.02) -> NoiseSchedule:
    """Betas that rise as a logistic function from -6 to 6 (GeoDiff, arXiv:2203.02923)."""
    return from_betas(torch.sigmoid(torch.linspace(-6, 6, n_steps, dtype=torch.float64)) * (end - start) + start)


def laplace(n_steps: int = 1000, mean: float = 0.0, scale: float = 0.5, max_beta: float = 0.999) -> NoiseSchedule:
    """Log signal-to-noise ratios that are Laplace distributed: most steps near `mean` (arXiv:2407.03297).

    alpha is snr / (1 + snr) here (and its root the published alpha), as the field's implementation has it.
    """
    t = torch.arange(n_steps + 1, dtype=torch.float64) / n_steps
    log_snr = mean - scale * (0.5 - t).sign() * (1 - 2 * (0.5 - t).abs() + 1e-6).log()
    signal = torch.sigmoid(log_snr).sqrt()
    return from_betas((1 - signal[1:] / signal[:-1]).clamp(max=max_beta))


def shift_snr(schedule: NoiseSchedule, scale: float) -> NoiseSchedule:
    """Divides the signal-to-noise ratio of every step by `scale` (CogVideoX; for larger pictures, arXiv:2301.11093)."""
    return NoiseSchedule(schedule.signal / (scale + (1 - scale) * schedule.signal))


def zero_terminal_snr(schedule: NoiseSchedule) -> NoiseSchedule:
    """Shifts and scales alpha so that the last step is pure noise (arXiv:2305.08891, algorithm 1)."""
    alpha = schedule.signal.sqrt()
    return NoiseSchedule(((alpha - alpha[-1]) * alpha[0] / (alpha[0] - alpha[-1])) ** 2)


def trailing(n_steps: int, steps: int) -> Int[Tensor, " n"]:
    """`steps` of n_steps, from the last down, evenly spaced (arXiv:2305.08891, table 2); then -1, the data."""
    _check(n_steps, steps)
    times = (torch.arange(steps, dtype=torch.float64) * -(n_steps / steps) + n_steps).round().long() - 1
    return torch.cat([times, torch.tensor([-1])])


def leading(n_steps: int, steps: int, offset: int = 0) -> Int[Tensor, " n"]:
    """Multiples of n_steps // steps (plus `offset`) downwards, as DDIM and Stable Diffusion space them; then -1."""
    _check(n_steps, steps)
    times = torch.arange(steps - 1, -1, -1) * (n_steps // steps) + offset
    if times[-1] < 0 or times[0] >= n_steps:
        raise ValueError(f"offset {offset} takes {steps} leading steps out of 0 to {n_steps - 1}; 0 never does")
    return torch.cat([times, torch.tensor([-1])])


def linspace(n_steps: int, steps: int) -> Int[Tensor, " n"]:
    """`steps` from n_steps - 1 to 0, both included (a single one is n_steps - 1), rounded; then -1."""
    _check(n_steps, steps)
    times = torch.linspace(n_steps - 1, 0, steps, dtype=torch.float64).round().long()
    return torch.cat([times, torch.tensor([-1])])


def without_last(times: Int[Tensor, " n"]) -> Int[Tensor, " m"]:
    """Leaves out the lowest step: `without_last(linspace(n, steps + 1))` is DPM-Solver's and UniPC's own spacing."""
    if len(times) < 3:
        raise ValueError("at least one step must be left; ask for one more")
    return torch.cat([times[:-2], times[-1:]])


def _check(n_steps: int, steps: int) -> None:
    if not 1 <= steps <= n_steps:
        raise ValueError(f"steps must be from 1 to {n_steps}, got {steps}")
