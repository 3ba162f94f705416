"""Fréchet distances of pictures or frames, with their cards, or why there are none."""

from collections.abc import Callable, Sequence

import numpy as np

from nexus.media import Image
from nexus.metrics.figures import Card, Figure
from nexus.metrics.frechet import frechet_figure, needed_items
from nexus.metrics.judge import digest, version
from nexus.metrics.judging import Figures, or_why
from nexus.metrics.picture_features import PACKAGE, weights_file
from nexus.metrics.scripted import INCEPTION, InceptionNetwork

JUDGE = "EfficientNet-Lite0"
INCEPTION_FEATURES = 2048


def picture_distance(
    features: Callable[[], tuple[np.ndarray, ...]], *, of: str = "", crop: str = "", seed: int
) -> Figures:
    """In EfficientNet-Lite0's features.

    Args:
        features: two of them, [N, D] of what was made and of the data; may raise MissingJudge.
        of: what the figure's name says it is of, such as "frames".
    """

    def measured() -> Figure:
        ours, theirs = features()
        card = Card(
            judge=JUDGE,
            version=version(PACKAGE.replace("_", "-")),
            weights=digest(weights_file()),
            items=len(ours),
            resampling="",
            crop=crop,
            seed=seed,
        )
        return frechet_figure(f"FID∞{of and f' of {of}'} ({JUDGE})", ours, theirs, card=card, seed=seed)

    return or_why(measured)


def inception_distance(made: Sequence[Image], real: Sequence[Image], *, seed: int) -> Figures:
    """In Inception v3's features, as the published FID is."""

    def measured() -> Figure:
        network, needed = InceptionNetwork(), needed_items(INCEPTION_FEATURES)
        name = f"FID∞ ({INCEPTION})"
        if len(made) < needed:  # before minutes of work
            raise ValueError(f"{name} of {INCEPTION_FEATURES} features needs at least {needed} items, got {len(made)}")
        ours, theirs = (network.features(pictures) for pictures in (made, real))
        card = Card(
            judge=INCEPTION, version="", weights=digest(network.file), items=len(made), resampling="", crop="",
            seed=seed,
        )  # fmt: skip
        return frechet_figure(name, ours, theirs, card=card, seed=seed)

    return or_why(measured)
