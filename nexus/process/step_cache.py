"""Step caching: where the noise has hardly changed since the network was asked, its last two estimates are drawn on.

TeaCache (arXiv:2411.19108) judges of each item what may be skipped, and takes the last answer as it was; TaylorSeer
(arXiv:2503.06923) draws a line through the last answers. Here the levels alone say what is skipped, by half the log of
their signal-to-noise ratio, along which estimates of the data were seen to move alike in all pictures. So what is
skipped is known before, item i of a batch equals it alone, and a batch saves as much as one item.
"""

import math

from torch import Tensor

from nexus.process.diffusion import DataField
from nexus.process.levels import Level, Path

MOST = 2.0  # where hardly a step is left


def step_cached(field: DataField, path: Path, threshold: float | int) -> DataField:
    """The field, asked only where half the log of the signal-to-noise ratio has moved by `threshold` or more.

    Between, the line through the last two answers says it. For one walk along `path`, by any solver; its first step and
    its last are never skipped, and with a threshold of 0 none is.
    """
    check_threshold(threshold)
    if not threshold:
        return field
    always, known = (path[0], path[-2]), list[tuple[Level, Tensor]]()  # newest last, of different levels

    def estimate(x: Tensor, level: Level) -> Tensor:
        if known and level not in always and _moved(known[-1][0], level) < threshold:
            return _on_line(known, level)
        answer = field(x, level)
        known[:] = [*(pair for pair in known[-2:] if pair[0] != level), (level, answer)][-2:]
        return answer

    return estimate


def check_cache(threshold: float | int, n_steps: int, solver: str) -> None:
    """Raises ValueError for what is no threshold, or where there is no step that could be skipped."""
    check_threshold(threshold)
    if threshold and solver == "lcm":
        raise ValueError("cache skips steps, and in lcm each says the whole picture anew; leave cache out")
    if threshold and n_steps < 3:
        raise ValueError(f"cache skips steps between the first and the last; of {n_steps} none is: leave cache out")


def check_threshold(threshold: float | int) -> None:
    if not 0 <= threshold <= MOST:
        raise ValueError(
            f"cache must be from 0 (no step is skipped) to {MOST:g}: 0.3 skips a few steps, 0.6 many; got {threshold:g}"
        )


def _moved(before: Level, now: Level) -> float:
    """How far; infinitely from pure noise."""
    return abs(now.half_log_snr - before.half_log_snr) if before.alpha else math.inf


def _on_line(known: list[tuple[Level, Tensor]], level: Level) -> Tensor:
    """The last answer where there is no other but of pure noise, which is infinitely far."""
    end, answer = known[-1]
    if len(known) < 2 or not known[0][0].alpha:
        return answer
    start, earlier = known[0]
    step = (level.half_log_snr - end.half_log_snr) / (end.half_log_snr - start.half_log_snr)
    return answer + step * (answer - earlier)
