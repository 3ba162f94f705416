"""Inception Score (arXiv:1606.03498): pictures that a classifier is sure of, and that are of many classes.

Axes: N pictures, C classes.
"""

from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from nexus.media import Image, Video
from nexus.metrics.figures import Card, Figure
from nexus.metrics.jackknife import GROUPS, half_width
from nexus.metrics.judge import MissingJudge, digest, version
from nexus.metrics.judging import Figures, or_why
from nexus.metrics.picture_features import PACKAGE, PictureNetwork, weights_file
from nexus.metrics.scripted import INCEPTION, InceptionNetwork

NAME = "Inception Score"
LEAST = 2 * GROUPS


def inception_score(probabilities: Float[ndarray, "N C"]) -> float:
    """exp of the mean divergence of each picture's classes from those of all, 1 to C; rises with N while N is small.

    Raises:
        ValueError: no pictures.
    """
    if not len(probabilities):
        raise ValueError(f"an {NAME} needs pictures, got none")
    means = probabilities.mean(0)
    logs = np.log(probabilities.clip(min=1e-16)) - np.log(means.clip(min=1e-16))
    return float(np.exp((probabilities * logs).sum(1).mean()))


def inception_figures(pictures: Sequence[Image], *, seed: int) -> Figures:
    """By Inception v3, whose figures alone compare with published ones, and by EfficientNet-Lite0."""
    return or_why(lambda: by_inception(pictures, seed)) + or_why(lambda: by_efficientnet(pictures, seed))


def by_inception(pictures: Sequence[Image], seed: int) -> Figure:
    """Raises MissingJudge, or ValueError for too few pictures."""
    network = InceptionNetwork()
    return _figure(
        NAME, lambda: network.probabilities(pictures), len(pictures), INCEPTION, "", digest(network.file), seed
    )


def by_efficientnet(pictures: Sequence[Image], seed: int) -> Figure:
    """Raises MissingJudge, or ValueError for too few pictures."""
    try:
        network = PictureNetwork()
    except ModuleNotFoundError as missing:
        raise MissingJudge(str(missing)) from None
    film = Video(np.stack([picture.over_white().pixels for picture in pictures]), 1)
    name, package = "EfficientNet-Lite0", version(PACKAGE.replace("_", "-"))
    return _figure(f"{NAME} ({name})", lambda: network.probabilities(film).numpy().astype(np.float64),
                   len(pictures), name, package, digest(weights_file()), seed)  # fmt: skip


def _figure(name: str, see: Callable[[], ndarray], n: int, judge: str, package: str, weights: str, seed: int) -> Figure:
    if n < LEAST:
        raise ValueError(f"{name} needs at least {LEAST} items, got {n}")
    seen = see()
    value = inception_score(seen)
    half = half_width(lambda kept: inception_score(seen[kept]), n, seed=seed)
    card = Card(judge=judge, version=package, weights=weights, items=n, resampling="", crop="", seed=seed)
    return Figure(name=name, value=value, low=value - half, high=value + half, unit="", better="higher", card=card)
