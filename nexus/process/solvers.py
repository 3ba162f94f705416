"""Solvers of diffusion: generator functions of (field, noise, path) that yield each state.

`field(x, level)` estimates the data (`nexus.process.diffusion.data_field`); the path falls from noise to data
(`NoiseSchedule.path`, `straight`, `exploding`), and a part of one starts midway. Whoever consumes the states shows
progress, previews, or stops; `nexus.process.flow.last` takes the result. Solvers that draw take `rngs`, a generator for
each item.
"""

import math
from collections.abc import Iterator
from itertools import pairwise
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from nexus.process.diffusion import DataField
from nexus.process.levels import Level, Path
from nexus.process.noise import gaussian

State = Float[Tensor, " B *axes"]


def ddim(
    field: DataField, noise: State, path: Path, *, eta: float | int = 0.0, rngs: list[torch.Generator] | None = None
) -> Iterator[State]:
    """DDIM (arXiv:2010.02502, eq. 12); eta 0 is deterministic, 1 has DDPM's variance and draws.

    Over `exploding` and `straight` paths this is Euler's method; with eta 1 it is the ancestral one.
    """
    if eta and rngs is None:
        raise ValueError("DDIM with eta above 0 draws noise: give `rngs`, one generator per item")
    x = noise
    for now, after in pairwise(path):
        data = field(x, now)
        # The noise in x is what is left when the estimated data is taken out; with no noise left there is none.
        direction = (x - now.alpha * data) / max(now.sigma, 1e-12)
        drawn = eta * after.sigma * math.sqrt(max(1 - _kept(now, after) ** 2, 0))
        x = after.alpha * data + math.sqrt(max(after.sigma**2 - drawn**2, 0)) * direction
        if drawn and rngs is not None:
            x = x + drawn * _fresh(x, rngs)
        yield x


def ddpm(
    field: DataField,
    noise: State,
    path: Path,
    *,
    rngs: list[torch.Generator],
    variance: Literal["small", "large"] = "small",
) -> Iterator[State]:
    """Ancestral sampling from the posterior q(x_s | x_t, data) (arXiv:2006.11239, eq. 6, 7).

    Args:
        variance: the posterior's own (eq. 7), or that of the step forwards, beta ("large", section 3.2).
    """
    x = noise
    for now, after in pairwise(path):
        data, kept = field(x, now), _kept(now, after)
        backwards = after.sigma**2 * (1 - kept**2)
        forwards = now.sigma**2 - (now.alpha / after.alpha * after.sigma) ** 2
        x = after.alpha * data + kept * after.sigma / now.sigma * (x - now.alpha * data)
        if after.sigma:
            drawn = backwards if variance == "small" else forwards
            x = x + math.sqrt(max(drawn, 1e-20)) * _fresh(x, rngs)
        yield x


def heun(
    field: DataField,
    noise: State,
    path: Path,
    *,
    churn: float | int = 0.0,
    rngs: list[torch.Generator] | None = None,
) -> Iterator[State]:
    """Heun's method in the ratio sigma / alpha, two estimates a step but for the last (EDM, arXiv:2206.00364, alg. 1).

    Args:
        churn: noise added back before each step (algorithm 2, S_churn), which needs `rngs` and an `exploding` path.
    """
    if path and path[0].alpha == 0:
        raise ValueError("Heun's method starts from some signal; leave out the level of pure noise, or take ddim")
    if churn and (rngs is None or any(level.alpha != 1 for level in path)):
        raise ValueError("churn draws noise over levels with alpha 1: give `rngs` and a path made by `exploding`")
    x, n = noise, len(path) - 1
    for now, after in pairwise(path):
        if churn and rngs is not None:
            higher = now.sigma * (1 + min(churn / n, math.sqrt(2) - 1))
            x = x + math.sqrt(higher**2 - now.sigma**2) * _fresh(x, rngs)
            now = Level(1.0, higher, higher)
        step, y = after.ratio - now.ratio, x / now.alpha
        slope = (y - field(x, now)) / now.ratio
        if after.sigma:
            ahead = y + step * slope
            slope = (slope + (ahead - field(after.alpha * ahead, after)) / after.ratio) / 2
        x = after.alpha * (y + step * slope)
        yield x


def flow_heun(field: DataField, noise: State, path: Path) -> Iterator[State]:
    """Heun's method along a straight path, in sigma itself, so that it starts from pure noise too; the last step is one
    of Euler's."""
    x = noise
    for now, after in pairwise(path):
        step, slope = after.sigma - now.sigma, (x - field(x, now)) / now.sigma
        if after.sigma:
            ahead = x + step * slope
            slope = (slope + (ahead - field(ahead, after)) / after.sigma) / 2
        x = x + step * slope
        yield x


def dpmpp_2m(
    field: DataField, noise: State, path: Path, *, rngs: list[torch.Generator] | None = None
) -> Iterator[State]:
    """DPM-Solver++(2M) (arXiv:2211.01095, algorithm 2); with `rngs` SDE-DPM-Solver++(2M), which draws (appendix B).

    The first step is of first order, and the last where it ends in data or there are fewer than 15.
    """
    x, before, width_before, n = noise, None, math.inf, len(path) - 1
    for i, (now, after) in enumerate(pairwise(path), 1):
        data, width = field(x, now), after.half_log_snr - now.half_log_snr  # infinite from pure noise
        slope = data
        if before is not None and after.sigma and (i < n or n >= 15):
            slope = data + 0.5 * width / width_before * (data - before)
        # The SDE forgets x twice as fast, and makes up for it with fresh noise.
        forgotten = -math.expm1(-width if rngs is None else -2 * width)
        x = after.sigma / now.sigma * (1 if rngs is None else math.exp(-width)) * x + after.alpha * forgotten * slope
        if rngs is not None and after.sigma:
            x = x + after.sigma * math.sqrt(forgotten) * _fresh(x, rngs)
        before, width_before = data, width
        yield x


def consistency(
    field: DataField, noise: State, path: Path, *, rngs: list[torch.Generator], least: float | int = 0.0
) -> Iterator[State]:
    """Multistep consistency sampling (arXiv:2303.01469, algorithm 1), also LCM's: estimate, add fresh noise, again.

    Args:
        least: the noise level at which the model's trajectories end and which is still in its estimates (epsilon).
    """
    x = noise
    for now, after in pairwise(path):
        x = after.alpha * field(x, now)
        drawn = math.sqrt(max(after.sigma**2 - least**2, 0))
        if drawn:
            x = x + drawn * _fresh(x, rngs)
        yield x


def _kept(now: Level, after: Level) -> float:
    """The ratio sigma / alpha that a step leaves of the one before it."""
    return after.sigma * now.alpha / (after.alpha * now.sigma)


def _fresh(x: Tensor, rngs: list[torch.Generator]) -> Tensor:
    return gaussian(tuple(x.shape[1:]), rngs, device=x.device, dtype=x.dtype)
