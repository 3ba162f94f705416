"""Which clips of the storybook world a judge learns from and is tried on: one thing alone, in clear weather."""

from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np

from nexus.data.storybook import StoryClip, clip, clip_facts
from nexus.data.storybook.backgrounds import MARGIN, PLACES, draw_place
from nexus.data.storybook.caption import Facts
from nexus.data.storybook.clip import Split
from nexus.data.storybook.nouns import find_nouns
from nexus.media.image import Image
from nexus.media.video import Video


def everywhere(nouns: Sequence[str], each: int, *, size: int, frames: int) -> list[StoryClip]:
    """`each` clips of every thing in every place, of the train split: the place says nothing about the thing."""
    clips = []
    for which, noun in enumerate(nouns):
        found: Counter[str] = Counter()
        for seed, facts in _plain(nouns, which, "train", 0):
            if found[facts.place] < each:
                found[facts.place] += 1
                clips.append(clip(seed, "train", size=size, frames=frames, nouns=(noun,)))
            if found.total() == each * len(PLACES):
                break
    return clips


def clips_in_turn(
    nouns: Sequence[str], n: int, *, size: int, frames: int, split: Split = "valid", seed: int = 0
) -> list[StoryClip]:
    """`n` clips of a split, the things in turn; of "train" those of seed 0 may be among `everywhere`'s.

    Raises:
        ValueError: a noun that the world does not have, or none.
    """
    find_nouns(tuple(nouns))
    seeds = [_plain(nouns, which, split, seed * 2**20) for which in range(len(nouns))]
    turns = [(nouns[i % len(nouns)], next(seeds[i % len(nouns)])[0]) for i in range(n)]
    return [clip(own, split, size=size, frames=frames, nouns=(noun,)) for noun, own in turns]


def empty_place(shown: StoryClip, seed: int) -> Video:
    """A place and time of day as in the clip, drawn anew and without the thing, as a still of the clip's length."""
    length, size = shown.frames.shape[:2]
    height = 2 * size  # twice as fine, as clips are
    picture = draw_place(PLACES[shown.facts.place], shown.facts.time, height, np.random.default_rng(seed))
    left = round(MARGIN * height)
    still = Image(np.asarray(picture)[:, left : left + height]).resize(size, size)
    return Video(np.repeat(still.pixels[None], length, axis=0), shown.fps)


def _plain(nouns: Sequence[str], which: int, split: Split, first: int) -> Iterator[tuple[int, Facts]]:
    """Endless seeds of clips that show `nouns[which]` alone in clear weather, with their facts; no nouns share one."""
    seed = first * len(nouns) + which
    while True:
        facts = clip_facts(seed, split, nouns=(nouns[which],))
        if facts.weather == "clear" and facts.companion is None:
            yield seed, facts
        seed += len(nouns)
