"""What a picture of the storybook world shows: the thing, its colour, the place and the time of day.

The eyes are others' (`picture_features`), save for colours, which are read off histograms of hue; only the names are
taught here, by logistic regressions on drawn stills in which every thing stands in every place equally often, each as
it is and softened, as made pictures are.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from nexus.data.storybook import StoryClip, still, still_facts
from nexus.data.storybook.backgrounds import MARGIN, PLACES, draw_place
from nexus.data.storybook.caption import Facts
from nexus.data.storybook.clip import Split
from nexus.data.storybook.nouns import find_nouns
from nexus.media.image import Image
from nexus.media.video import Video
from nexus.metrics.hues import hues
from nexus.metrics.picture_features import PictureNetwork
from nexus.metrics.softmax_regression import fit
from nexus.metrics.storybook_judge import LEAST_SOFT, SOFTEST

COLOURED = 400  # stills that colours are learnt from


@dataclass(frozen=True)
class SeenStill:
    """What a judge sees in a picture, in keys of the storybook world."""

    thing: str
    colour: str  # of the colours that things are given, the likeliest
    place: str
    time: str


def stills_in_turn(
    nouns: Sequence[str], n: int, *, size: int, split: Split = "valid", seed: int = 0
) -> list[StoryClip]:
    """`n` stills of a split, the things in turn: one thing alone, in clear weather.

    Raises:
        ValueError: a noun that the world does not have, or none.
    """
    find_nouns(tuple(nouns))
    seeds = [_plain(nouns, which, split, seed * 2**20) for which in range(len(nouns))]
    return [still(next(seeds[i % len(nouns)])[0], split, size=size, nouns=(nouns[i % len(nouns)],)) for i in range(n)]


def stills_everywhere(nouns: Sequence[str], each: int, *, size: int) -> list[StoryClip]:
    """`each` stills of every thing in every place, of the train split: the place says nothing about the thing."""
    stills = []
    for which, noun in enumerate(nouns):
        found: Counter[str] = Counter()
        for seed, facts in _plain(nouns, which, "train", 0):
            if found[facts.place] < each:
                found[facts.place] += 1
                stills.append(still(seed, "train", size=size, nouns=(noun,)))
            if found.total() == each * len(PLACES):
                break
    return stills


def coloured_stills(nouns: Sequence[str], n: int, *, size: int) -> list[StoryClip]:
    """The first `n` stills of the train split whose thing was given a colour, in any weather.

    Raises:
        ValueError: none of the nouns is ever given one.
    """
    paintable = tuple(noun.key for noun in find_nouns(tuple(nouns)) if noun.colours)
    if not paintable:
        raise ValueError(f"none of {', '.join(nouns)} is ever given a colour; add a boat, a car or a balloon")
    stills, seed = [], 0
    while len(stills) < n:
        if still_facts(seed, "train", nouns=paintable).colour:
            stills.append(still(seed, "train", size=size, nouns=paintable))
        seed += 1
    return stills


def empty_still(shown: StoryClip, seed: int) -> Image:
    """A place and time of day as in the still, drawn anew and without the thing."""
    size = shown.frames.shape[1]
    height = 2 * size  # twice as fine, as stills are
    picture = draw_place(PLACES[shown.facts.place], shown.facts.time, height, np.random.default_rng(seed))
    left = round(MARGIN * height)
    return Image(np.asarray(picture)[:, left : left + height]).resize(size, size)


def _plain(nouns: Sequence[str], which: int, split: Split, first: int) -> Iterator[tuple[int, Facts]]:
    """Endless seeds of stills that show `nouns[which]` alone in clear weather; no two nouns share a seed."""
    seed = first * len(nouns) + which
    while True:
        facts = still_facts(seed, split, nouns=(nouns[which],))
        if facts.weather == "clear" and facts.companion is None:
            yield seed, facts
        seed += len(nouns)


class StillJudge:
    """Tells apart the things that it was shown, colours, places and times of day; the same on every run.

    Args:
        nouns: what it learns to tell apart.
        examples: stills of every thing in every place that it learns from, of the train split.
        size: pixels of their sides.

    Raises:
        ValueError: fewer than two nouns, one that the world does not have, or no examples.
        ModuleNotFoundError: the package with the network's weights is not installed.
    """

    def __init__(self, nouns: Sequence[str], *, examples: int = 3, size: int = 64):
        if len(find_nouns(tuple(nouns))) < 2 or examples < 1:
            raise ValueError(f"a judge needs two nouns and one example of each, got {len(nouns)} and {examples}")
        self.network = PictureNetwork()
        rng, pictures, facts = np.random.default_rng(0), [], []
        for shown in stills_everywhere(nouns, examples, size=size):
            side = max(1, round(size * rng.uniform(SOFTEST, LEAST_SOFT)))
            sharp = Image(shown.frames[0])
            pictures += [sharp, sharp.resize(side, side).resize(size, size)]
            facts += [shown.facts] * 2
        seen = self.features(pictures)
        self._thing = fit(seen, [fact.noun for fact in facts])
        self._place = fit(seen, [fact.place for fact in facts])
        self._time = fit(seen, [fact.time for fact in facts])
        coloured = coloured_stills(nouns, COLOURED, size=size)
        shares = torch.from_numpy(np.stack([hues(Image(one.frames[0])) for one in coloured]))
        self._colour = fit(shares, [str(one.facts.colour) for one in coloured])

    def look(self, image: Image) -> SeenStill:
        features, shares = self.features([image]), torch.from_numpy(hues(image))[None]
        thing, place, time = (judge.classify(features)[0] for judge in (self._thing, self._place, self._time))
        return SeenStill(thing, self._colour.classify(shares)[0], place, time)

    def features(self, images: Sequence[Image]) -> Float[Tensor, "N D"]:
        """The network's, of pictures of one size."""
        frames = np.stack([image.over_white().pixels for image in images])
        return self.network.features(Video(frames, 1)).to(torch.float32)
