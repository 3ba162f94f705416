"""The interval of a figure of a whole set: what it becomes without each tenth of the items in turn."""

import math
from collections.abc import Callable

import numpy as np
from jaxtyping import Int
from numpy import ndarray

GROUPS = 10  # left out in turn
T_QUANTILE = 2.262  # of Student's t with GROUPS - 1 degrees of freedom, two-sided 95 %


def half_width(statistic: Callable[[Int[ndarray, " M"]], float], n: int, *, seed: int) -> float:
    """Half of the 95 % interval of a statistic of `n` items, given as a function of which of them it may have.

    A bootstrap would not do where items drawn twice narrow the spread, and so change the figure by that alone.
    """
    groups = np.array_split(np.random.default_rng(seed).permutation(n), GROUPS)
    parts = np.array([statistic(np.delete(np.arange(n), group)) for group in groups])
    return T_QUANTILE * math.sqrt((GROUPS - 1) / GROUPS * float(np.sum((parts - parts.mean()) ** 2)))
