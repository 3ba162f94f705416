"""What a video of the storybook world shows: the thing, the place, the time of day, and which way the thing goes.

The eyes are others' (`picture_features`); only the names are taught here, by logistic regressions on drawn clips in
which every thing stands in every place equally often, so that a place alone does not give its things away. Each clip
is shown as it is and softened, so that what is soft, as made videos are, is judged by what it shows.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from nexus.data.storybook.caption import Facts
from nexus.data.storybook.nouns import find_nouns
from nexus.media.video import Video
from nexus.metrics.motion import Direction, drift
from nexus.metrics.picture_features import PictureNetwork
from nexus.metrics.softmax_regression import fit
from nexus.metrics.storybook_clips import everywhere

LOOKS = (0.25, 0.5, 0.75)  # shares of the clip at which things that come or go are in the picture
SOFTEST, LEAST_SOFT = 0.15, 0.6  # shares of the size that softened clips are shrunk to and enlarged again

_DIRECTIONS: dict[str, Direction] = {
    "stand": "nowhere",
    "bounce": "nowhere",
    "circle": "nowhere",
    "enter_left": "right",
    "enter_right": "left",
    "leave_left": "left",
    "leave_right": "right",
    "cross_left": "left",
    "cross_right": "right",
    "rise": "up",
    "fall": "down",
}


@dataclass(frozen=True)
class Seen:
    """What a judge sees in a video, in keys of the storybook world."""

    thing: str
    place: str
    time: str
    direction: Direction


def asked_direction(facts: Facts) -> Direction | None:
    """Which way a clip's thing goes; None for one that grows or shrinks: its middle moves though its foot stays."""
    return _DIRECTIONS.get(facts.motion)


class StorybookJudge:
    """Tells apart the things that it was shown, the places and the times of day; the same on every run.

    Args:
        nouns: what it learns to tell apart.
        examples: clips of every thing in every place that it learns from, of the train split.
        size: pixels of their sides.
        frames: their length.

    Raises:
        ValueError: fewer than two nouns, one that the world does not have, or no examples.
        ModuleNotFoundError: the package with the network's weights is not installed.
    """

    def __init__(self, nouns: Sequence[str], *, examples: int = 3, size: int = 64, frames: int = 17):
        if len(find_nouns(tuple(nouns))) < 2 or examples < 1:
            raise ValueError(f"a judge needs two nouns and one example of each, got {len(nouns)} and {examples}")
        self.network = PictureNetwork()
        rng, features, facts = np.random.default_rng(0), [], []
        for shown in everywhere(nouns, examples, size=size, frames=frames):
            side = max(1, round(size * rng.uniform(SOFTEST, LEAST_SOFT)))
            sharp = self._looks(Video(shown.frames, shown.fps))
            features += [self._features(video) for video in (sharp, sharp.resize(side, side).resize(size, size))]
            facts += [shown.facts] * 2
        seen = torch.cat(features)
        self._thing = fit(seen, [fact.noun for fact in facts])
        self._place = fit(seen, [fact.place for fact in facts])
        self._time = fit(seen, [fact.time for fact in facts])

    def look(self, video: Video) -> Seen:
        """What the frames at `LOOKS` show, and the direction of all frames.

        Raises:
            ValueError: fewer than two frames.
        """
        way = drift(video).direction
        features = self._features(self._looks(video))
        thing, place, time = (judge.classify(features)[0] for judge in (self._thing, self._place, self._time))
        return Seen(thing, place, time, way)

    def _looks(self, video: Video) -> Video:
        """The frames that are looked at."""
        return Video(video.frames[[round(share * (video.length - 1)) for share in LOOKS]], video.fps)

    def _features(self, video: Video) -> Float[Tensor, "1 D"]:
        return self.network.features(video).mean(0, keepdim=True)
