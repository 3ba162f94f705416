"""Two domains of storybook stills that are not pairs: the same places and things by day and by night."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from nexus.data.storybook.clip import Split, StoryClip, still, still_facts

Time = Literal["day", "night"]
NOUNS = ("boat", "lighthouse", "house", "tree", "cat", "car", "castle", "balloon")
PLACES = ("sea", "beach", "meadow", "city", "mountains")  # that know both times


def stills(time: Time, n: int, split: Split = "train", *, size: int = 32) -> Iterator[StoryClip]:
    """The first n in clear weather at that time of day; a seed is of one domain only, so no picture has its pair.

    Raises:
        ValueError: n below 1.
    """
    if n < 1:
        raise ValueError(f"n must be at least 1, got {n}")
    seed = 0
    while n:
        facts = still_facts(seed, split, nouns=NOUNS)
        if facts.time == time and facts.place in PLACES and facts.weather == "clear":
            n -= 1
            yield still(seed, split, size=size, nouns=NOUNS)
        seed += 1


@cache
def domain(time: Time, n: int, split: Split = "train", size: int = 32) -> Float[Tensor, "N 3 H W"]:
    """The pictures of `stills` in [-1, 1]."""
    frames = np.stack([found.frames[0] for found in stills(time, n, split, size=size)])
    return torch.from_numpy(frames).permute(0, 3, 1, 2).float() / 127.5 - 1


@dataclass(frozen=True)
class DayAndNight:
    """Batch i: `a` by day and `b` by night, [B, 3, H, W] in [-1, 1], drawn by (seed, i) from n stills of each."""

    split: Split
    batch_size: int
    seed: int
    n: int = 1500
    size: int = 32

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        rng = np.random.default_rng((self.seed, index))
        a, b = (domain(time, self.n, self.split, self.size) for time in ("day", "night"))
        rows = torch.from_numpy(rng.integers(self.n, size=(2, self.batch_size)))
        return {"a": a[rows[0]], "b": b[rows[1]]}
