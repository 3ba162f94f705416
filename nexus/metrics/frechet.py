"""Fréchet distance of two sets of features as Gaussians (FID: arXiv:1706.08500; FAD: arXiv:1812.08466), and without
the bias of finite sets (FID∞: arXiv:1911.07023; FAD∞: arXiv:2311.01616).

Axes: N items, D width of the features.
"""

import math

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from nexus.metrics.figures import Card, Figure
from nexus.metrics.jackknife import GROUPS, half_width

SIZES = 15  # of subsets that the line is drawn through, as in both papers


def moments(features: Float[ndarray, "N D"]) -> tuple[Float[ndarray, " D"], Float[ndarray, "D D"]]:
    """Mean and covariance (divided by N - 1) in float64.

    Raises:
        ValueError: fewer than D + 1 items, with which no covariance has full rank; or numbers that are not finite.
    """
    n, dim = features.shape
    if n < dim + 1:
        raise ValueError(f"a Fréchet distance of {dim} features needs at least {dim + 1} items, got {n}")
    if not np.isfinite(features).all():
        raise ValueError("features must be finite numbers, got NaN or infinity")
    rows = features.astype(np.float64)
    return rows.mean(0), np.atleast_2d(np.cov(rows, rowvar=False))


def gaussian_distance(
    mean_a: Float[ndarray, " D"],
    covariance_a: Float[ndarray, "D D"],
    mean_b: Float[ndarray, " D"],
    covariance_b: Float[ndarray, "D D"],
) -> float:
    """|m_a - m_b|² + tr(C_a + C_b - 2 (C_a C_b)^½), equation 4 of Dowson and Landau (1982).

    The trace of the root is that of the symmetric (√C_a C_b √C_a)^½, whose eigenvalues are real and not negative.
    """
    values, vectors = np.linalg.eigh(covariance_a)
    root = (vectors * np.sqrt(values.clip(min=0))) @ vectors.T
    shared = np.sqrt(np.linalg.eigvalsh(root @ covariance_b @ root).clip(min=0)).sum()
    gap = mean_a - mean_b
    return float(gap @ gap + np.trace(covariance_a) + np.trace(covariance_b) - 2 * shared)


def frechet_distance(made: Float[ndarray, "N D"], reference: Float[ndarray, "M D"]) -> float:
    """Between the Gaussians of two sets; at least 0, and too large by about 1/N.

    Raises:
        ValueError: fewer than D + 1 items in one of them.
    """
    return gaussian_distance(*moments(made), *moments(reference))


def needed_items(dim: int) -> int:
    """Items that `frechet_figure` wants: nine tenths of them still make subsets from D + 1 to twice that."""
    return math.ceil(2 * (dim + 1) * GROUPS / (GROUPS - 1))


def frechet_infinity(made: Float[ndarray, "N D"], reference: Float[ndarray, "M D"], *, seed: int = 0) -> float:
    """The distance that infinitely many made items would have: the line through distances of subsets over 1/N, at 0.

    May fall below 0 by chance. `reference` is taken as it is.

    Raises:
        ValueError: fewer than 2 (D + 1) made items, or D + 1 of reference.
    """
    n, dim = made.shape
    if n < 2 * (dim + 1):
        raise ValueError(f"FAD∞ of {dim} features needs at least {2 * (dim + 1)} items, got {n}")
    against = moments(reference)
    rng = np.random.default_rng(seed)
    sizes = np.linspace(dim + 1, n, SIZES).round().astype(int)
    distances = [gaussian_distance(*moments(made[rng.choice(n, size, replace=False)]), *against) for size in sizes]
    return float(np.polyfit(1 / sizes, distances, 1)[1])


def frechet_figure(
    name: str, made: Float[ndarray, "N D"], reference: Float[ndarray, "M D"], *, card: Card, seed: int = 0
) -> Figure:
    """`frechet_infinity` with a 95 % interval from leaving out a tenth of the items in turn.

    Raises:
        ValueError: too few items; says how many are needed.
    """
    n, dim = made.shape
    if n < needed_items(dim):
        raise ValueError(f"{name} of {dim} features needs at least {needed_items(dim)} items, got {n}")
    value = frechet_infinity(made, reference, seed=seed)
    half = half_width(lambda kept: frechet_infinity(made[kept], reference, seed=seed), n, seed=seed)
    return Figure(name=name, value=value, low=value - half, high=value + half, unit="", better="lower", card=card)
