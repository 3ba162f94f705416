"""Noise levels, and the paths over them that solvers walk from noise to data.

At a level `x = alpha * data + sigma * noise`. Which of the field's conventions it belongs to no longer matters there:
`alpha^2 + sigma^2 = 1` (DDPM), `alpha = 1` (EDM) and `alpha + sigma = 1` (straight flows) are walked by one solver.
Solvers think in the ratio `sigma / alpha` or in `log(alpha / sigma)`, half the log of the signal-to-noise ratio.
"""

import math
from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor


class Level(NamedTuple):
    """`time` is what the network is told: a step, a continuous time, or a noise level, as it was trained."""

    alpha: float
    sigma: float
    time: float | int = 0

    @property
    def ratio(self) -> float:
        """sigma / alpha: the noise level where alpha is 1; infinite for pure noise."""
        return self.sigma / self.alpha if self.alpha else math.inf

    @property
    def half_log_snr(self) -> float:
        """log(alpha / sigma); infinite for data, minus infinite for pure noise."""
        if not self.alpha:
            return -math.inf
        return math.log(self.alpha / self.sigma) if self.sigma else math.inf

    def times(self, x: Tensor) -> Tensor:
        """`time` once for each item of x [B, ...]: int64 for steps, else float32."""
        return torch.full((len(x),), self.time, device=x.device)


Path = list[Level]  # from noise to data; a part of one starts midway, as image-to-image does

DATA = Level(1.0, 0.0)


def exploding(ratios: Iterable[float | int]) -> Path:
    """`x = data + sigma * noise`, `time` the noise level itself (EDM, arXiv:2206.00364); then the data."""
    return [*(Level(1.0, float(ratio), float(ratio)) for ratio in ratios), DATA]


def straight(sigmas: Iterable[float | int], n_steps: float | int = 1000) -> Path:
    """`x = (1 - sigma) * data + sigma * noise`, `time` n_steps * sigma (SD3, FLUX); then the data."""
    return [*(Level(1 - float(s), float(s), float(s) * n_steps) for s in sigmas), DATA]


def is_straight(path: Path) -> bool:
    return all(abs(level.alpha + level.sigma - 1) < 1e-6 for level in path)


def karras(most: float | int, least: float | int, steps: int, rho: float | int = 7.0) -> list[float]:
    """Noise levels whose rho-th roots are evenly spaced, both ends included (arXiv:2206.00364, eq. 5)."""
    _check(most, least, steps)
    ramp = torch.linspace(0, 1, steps, dtype=torch.float64)
    return ((most ** (1 / rho) + ramp * (least ** (1 / rho) - most ** (1 / rho))) ** rho).tolist()


def exponential(most: float | int, least: float | int, steps: int) -> list[float]:
    """Noise levels whose logarithms are evenly spaced, both ends included."""
    _check(most, least, steps)
    return torch.linspace(math.log(most), math.log(least), steps, dtype=torch.float64).exp().tolist()


def flow_sigmas(steps: int, n_steps: int = 1000, least: float | None = None) -> list[float]:
    """`steps` noise levels from 1 to `least` (1 / n_steps), evenly spaced, as SD3's and FLUX' schedulers take them."""
    if not 1 <= steps <= n_steps:
        raise ValueError(f"steps must be from 1 to {n_steps}, got {steps}")
    return torch.linspace(1, 1 / n_steps if least is None else least, steps, dtype=torch.float64).tolist()


def shifted(sigmas: Iterable[float | int], shift: float | int) -> list[float]:
    """More steps at high noise for larger pictures: s sigma / (1 + (s - 1) sigma) (SD3, arXiv:2403.03206, eq. 23)."""
    if shift <= 0:
        raise ValueError(f"shift must be above 0 (1 changes nothing, SD3 takes 3), got {shift:g}")
    return [shift * sigma / (1 + (shift - 1) * sigma) for sigma in sigmas]


def shift_for(n_tokens: int, few: int = 256, many: int = 4096, low: float = 0.5, high: float = 1.15) -> float:
    """FLUX' shift for a picture of so many tokens: the exponential of a line through (few, low) and (many, high)."""
    return math.exp(low + (high - low) * (n_tokens - few) / (many - few))


def _check(most: float | int, least: float | int, steps: int) -> None:
    if not 0 < least <= most:
        raise ValueError(f"noise levels fall from `most` to `least` above 0, got {most:g} and {least:g}")
    if steps < 1:
        raise ValueError(f"steps must be at least 1, got {steps}")
