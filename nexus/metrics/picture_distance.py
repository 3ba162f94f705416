"""The Fréchet distance of pictures or frames in EfficientNet-Lite0's features, with its card, or why there is none."""

from collections.abc import Callable

import numpy as np

from nexus.metrics.figures import Card, Figure
from nexus.metrics.frechet import frechet_figure
from nexus.metrics.judge import MissingJudge, digest, version
from nexus.metrics.picture_features import PACKAGE, weights_file

JUDGE = "EfficientNet-Lite0"


def picture_distance(
    features: Callable[[], tuple[np.ndarray, ...]], *, of: str = "", crop: str = "", seed: int
) -> tuple[tuple[Figure, ...], tuple[str, ...]]:
    """The figure, or else the sentence that says what is missing.

    Args:
        features: two of them, [N, D] of what was made and of the data; may raise MissingJudge.
        of: what the figure's name says it is of, such as "frames".
    """
    try:
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
        name = f"FID∞{of and f' of {of}'} ({JUDGE})"
        return (frechet_figure(name, ours, theirs, card=card, seed=seed),), ()
    except (MissingJudge, ValueError) as why:
        return (), (str(why),)
