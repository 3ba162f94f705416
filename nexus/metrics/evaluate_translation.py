"""Whether pictures by day that a model made of those by night look like day, and the other way round; what it keeps.

Axes: N pictures, H height, W width.
"""

from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from nexus.data.storybook.domains import Time, domain
from nexus.metrics.figures import Card, Figure
from nexus.metrics.frechet import frechet_figure
from nexus.metrics.principal_features import PrincipalFeatures
from nexus.metrics.softmax_regression import SoftmaxRegression, fit
from nexus.models.gan.cycle_gan import WAYS, Way

FROM: dict[str, tuple[Time, Time]] = {"to_b": ("day", "night"), "to_a": ("night", "day")}
STILLS, HELD_OUT, SIDE = 1500, 200, 32  # that judges learn from, of each time; that are translated; pixels


class Translated(NamedTuple):
    source: Time
    target: Time
    seen: float  # share that a judge takes for the target
    frechet: Figure  # from the target's training stills
    untouched: Figure  # the same of pictures that were left as they are
    back: float  # mean absolute difference of what went there and back, as the next
    kept: float  # of what was of the target already


@torch.no_grad()
def evaluate_translation(
    model: Callable[[Tensor, Way], Tensor], *, stills: int = STILLS, held_out: int = HELD_OUT, size: int = SIDE
) -> list[Translated]:
    """Both ways of held-out storybook stills."""
    judge, found = day_or_night(stills, size), []
    for way, back in WAYS:
        source, target = FROM[way]
        x, native = (domain(time, held_out, "valid", size) for time in (source, target))
        there = model(x, way)
        found.append(
            Translated(
                source=source,
                target=target,
                seen=share(judge, there, target),
                frechet=_frechet(there, target, stills),
                untouched=_frechet(x, target, stills),
                back=F.l1_loss(model(there, back), x).item(),
                kept=F.l1_loss(model(native, way), native).item(),
            )
        )
    return found


def day_or_night(stills: int, size: int) -> SoftmaxRegression:
    """A judge of 8 x 8 means of colours, taught on the training stills."""
    day, night = (domain(time, stills, "train", size) for time in ("day", "night"))
    return fit(coarse(torch.cat([day, night])), ["day"] * len(day) + ["night"] * len(night))


def share(judge: SoftmaxRegression, x: Float[Tensor, "N 3 H W"], time: Time) -> float:
    """Of pictures that the judge takes for `time`."""
    return judge.classify(coarse(x)).count(time) / len(x)


def coarse(x: Float[Tensor, "N 3 H W"]) -> Float[Tensor, "N 192"]:
    return F.adaptive_avg_pool2d(x, 8).flatten(1)


@cache
def _features(time: Time, stills: int, size: int) -> PrincipalFeatures:
    return PrincipalFeatures(domain(time, stills, "train", size))


def _frechet(x: Tensor, time: Time, stills: int) -> Figure:
    features = _features(time, stills, x.shape[2])
    card = Card(
        judge=features.name, version=features.version, weights=features.weights, items=len(x), resampling="", crop="",
        seed=0,
    )  # fmt: skip
    return frechet_figure("Fréchet distance", features(x), features.own, card=card)
