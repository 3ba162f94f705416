"""UniPC (arXiv:2302.04867): a multistep predictor, and a corrector that costs no further estimate.

The estimate at a new state serves the next prediction and, before it, corrects that state. Estimates are of the data,
B(h) is exp(h) - 1 ("bh2").
"""

import math
from collections.abc import Iterator
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor

from nexus.process.diffusion import DataField
from nexus.process.levels import Level, Path

_LEAST_LOG_SNR = math.log(1e-6)  # pure noise is taken to hold a millionth of signal: its own logarithm is infinite

State = Float[Tensor, " B *axes"]


def unipc(field: DataField, noise: State, path: Path, *, order: int = 2) -> Iterator[State]:
    """UniPC of `order` 1 to 3, lower at its first steps and at its last ones.

    What it yields are predictions: the corrector moves a state only once it is estimated at.
    """
    if order not in (1, 2, 3):
        raise ValueError(f"UniPC's order is 1, 2 or 3, got {order}")
    x, last, n = noise, noise, len(path) - 1
    known: list[tuple[float, Tensor]] = []  # half log SNR and estimate, newest last
    reached = 0  # order of the step that led here
    for i, (now, after) in enumerate(pairwise(path)):
        data = field(x, now)
        if i:
            x = _step(last, path[i - 1], now, known[-reached:], corrected_by=data)
        known = [*known, (_log_snr(now), data)][-order:]
        reached = min(order, i + 1, n - i)
        last = x
        x = _step(x, now, after, known[-reached:])
        yield x


def _step(
    x: State, start: Level, end: Level, known: list[tuple[float, Tensor]], corrected_by: Tensor | None = None
) -> State:
    """From x at `start` to `end`, through the estimates known until `start` (newest last) and perhaps that at `end`."""
    base, data = known[-1]
    width = _log_snr(end) - base
    growth = math.expm1(-width)
    moved = end.sigma / start.sigma * x - end.alpha * growth * data
    places, slopes = [], []
    for place, estimate in reversed(known[:-1]):
        places.append((place - base) / width)
        slopes.append((estimate - data) / places[-1])
    if corrected_by is not None:
        places.append(1.0)
        slopes.append(corrected_by - data)
    bend = sum((w * slope for w, slope in zip(_weights(places, width), slopes, strict=True)), torch.zeros_like(data))
    return moved - end.alpha * growth * bend


def _weights(places: list[float], width: float) -> list[float]:
    """How much each divided difference counts (section 3.1); for a single one a half is used (their code's choice)."""
    if len(places) < 2:
        return [0.5] * len(places)
    step, factorial = -width, 1.0
    phi, sums = math.expm1(step) / step - 1, []
    for k in range(1, len(places) + 1):
        sums.append(phi * factorial / math.expm1(step))
        factorial *= k + 1
        phi = phi / step - 1 / factorial
    powers = torch.tensor([[place**k for place in places] for k in range(len(places))], dtype=torch.float64)
    return torch.linalg.solve(powers, torch.tensor(sums, dtype=torch.float64)).tolist()


def _log_snr(level: Level) -> float:
    return max(level.half_log_snr, _LEAST_LOG_SNR)
