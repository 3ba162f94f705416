"""Fréchet video distance (arXiv:1812.01717): whether films are spread as the data's are, in I3D's 400 features.

Here without the bias of small sets (arXiv:1911.07023), so it may fall a little below the plain one that papers give.
"""

from collections.abc import Sequence

from nexus.media import Video
from nexus.metrics.figures import Card, Figure
from nexus.metrics.frechet import frechet_figure, needed_items
from nexus.metrics.judge import digest
from nexus.metrics.scripted import I3D, VideoNetwork

NAME, FEATURES = "FVD∞", 400


def fvd(made: Sequence[Video], real: Sequence[Video], *, seed: int) -> Figure:
    """The distance of whole films, each one item.

    Raises:
        MissingJudge: I3D is not there.
        ValueError: too few films, or too short ones; says how many are needed.
    """
    network = VideoNetwork()
    if len(made) < (needed := needed_items(FEATURES)):  # before hours of work
        raise ValueError(f"{NAME} of {FEATURES} features needs at least {needed} items, got {len(made)}")
    ours, theirs = (network.features(films) for films in (made, real))
    card = Card(
        judge=I3D, version="", weights=digest(network.file), items=len(made), resampling="", crop="whole films",
        seed=seed,
    )  # fmt: skip
    return frechet_figure(NAME, ours, theirs, card=card, seed=seed)
