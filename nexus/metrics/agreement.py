"""How often what a judge saw is what was asked for, with what chance would give and how sure that is."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from nexus.metrics.figures import RESAMPLES, interval


@dataclass(frozen=True)
class Estimate:
    """A figure and its 95 % interval, by the bootstrap of `figures`."""

    value: float
    low: float
    high: float
    n_items: int


@dataclass(frozen=True)
class Agreement:
    """The share of items that agree; `chance` is the share when each is held against every other's request."""

    right: Estimate
    chance: float


def agreement(seen: Sequence[str], asked: Sequence[str | None]) -> Agreement:
    """Compares what was seen with what was asked; items of which nothing (None) was asked are left out.

    Raises:
        ValueError: unequal counts, or fewer than two items that ask for something.
    """
    if len(seen) != len(asked):
        raise ValueError(f"need as many requests as answers, got {len(asked)} for {len(seen)}")
    pairs = [(answer, wanted) for answer, wanted in zip(seen, asked, strict=True) if wanted is not None]
    if len(pairs) < 2:
        raise ValueError(f"chance needs at least two items that ask for something, got {len(pairs)}")
    answers, wanted = (np.array(column) for column in zip(*pairs, strict=True))
    same = answers[:, None] == wanted[None]  # every answer against every request
    right, n = np.diag(same).astype(float), len(pairs)
    return Agreement(ratio(right, np.ones(n)), float((same.sum() - right.sum()) / (n * (n - 1))))


def ratio(above: Float[np.ndarray, " N"], below: Float[np.ndarray, " N"]) -> Estimate:
    """The sum of `above` over the sum of `below`; items are drawn together.

    Raises:
        ValueError: nothing to divide by.
    """
    if below.sum() <= 0:
        raise ValueError(f"a ratio needs something to divide by, got {len(below)} items that sum to {below.sum()}")
    drawn = np.random.default_rng(0).integers(len(above), size=(RESAMPLES, len(above)))
    sums = below[drawn].sum(1)
    low, high = interval(above[drawn].sum(1)[sums > 0] / sums[sums > 0])
    return Estimate(float(above.sum() / below.sum()), low, high, len(above))
