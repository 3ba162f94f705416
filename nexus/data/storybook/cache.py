"""Clips of the storybook world, drawn once into a folder and read through memory maps.

A folder holds, for each split, `train.json`, which says what was drawn, and shards: `train-00000.npy` (frames, uint8
[S, F, H, W, 3]), `.npz` (in "thing" what the thing covers, uint8 [S, F, H, W]) and `.jsonl` (caption and facts).
"""

import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8

from nexus.data.clips import replace
from nexus.data.reported import reported
from nexus.data.storybook.caption import Facts
from nexus.data.storybook.clip import Split, StoryClip, StoryClips

DRAWING = 2  # one more whenever the same seed and settings are drawn otherwise
SHARD = 250  # clips


class CachedClip(NamedTuple):
    frames: UInt8[np.ndarray, "F H W 3"]
    thing: UInt8[np.ndarray, "F H W"]  # what it covers
    caption: str
    facts: Facts


@dataclass(frozen=True)
class CachedStories:
    """The first `n` clips of a split, in order."""

    folder: Path
    split: Split
    n: int
    shard: int

    def stem(self, start: int) -> Path:
        return self.folder / f"{self.split}-{start // self.shard:05d}"

    @property
    def starts(self) -> range:
        return range(0, self.n, self.shard)

    @cached_property
    def frames(self) -> list[UInt8[np.ndarray, "S F H W 3"]]:
        """Of each shard, memory-mapped."""
        return [np.load(f"{self.stem(start)}.npy", mmap_mode="r")[: self.n - start] for start in self.starts]

    def __iter__(self) -> Iterator[CachedClip]:
        for start, frames in zip(self.starts, self.frames, strict=True):
            stem = self.stem(start)
            things = np.load(f"{stem}.npz")["thing"]
            lines = [json.loads(line) for line in stem.with_suffix(".jsonl").read_text().splitlines()]
            for row, told in enumerate(lines[: len(frames)]):
                yield CachedClip(frames[row], things[row], told["caption"], Facts(**told["facts"]))


def cache_clips(
    folder: str | Path, n: int, split: Split = "train", *, seed: int = 0, shard: int = SHARD, **settings: object
) -> CachedStories:
    """Clips 0 to n - 1 of `StoryClips(seed, split, **settings)`; shards that are there are kept: a stopped run goes on.

    Raises:
        ValueError: the folder holds other clips than these.
    """
    clips = StoryClips(seed, split, **settings)  # type: ignore[arg-type]
    stories = CachedStories(Path(folder), split, n, shard)
    stories.folder.mkdir(parents=True, exist_ok=True)
    _say_what_is_there(stories, clips)
    for start in reported(stories.starts, f"drawing clips, {shard} at a time"):
        end, stem = min(start + shard, n), stories.stem(start)
        if _length(stem) < end - start:
            _write(stem, [clips[index] for index in range(start, end)])
    return stories


def _say_what_is_there(stories: CachedStories, clips: StoryClips) -> None:
    """Writes a split's card, or refuses to mix its clips with others."""
    card = stories.folder / f"{stories.split}.json"
    drawn = {"drawing": DRAWING, "seed": clips.seed, "shard": stories.shard, **clips.draw.keywords}
    described = json.dumps(drawn, indent=1)
    if not card.exists():
        if stories.stem(0).with_suffix(".npy").exists():
            raise ValueError(
                f"{stories.folder} holds clips of an earlier version, which did not say what they show; choose another "
                "folder or delete this one"
            )
        replace(card, described.encode())
    held = json.loads(card.read_text())
    differs = [name for name, value in json.loads(described).items() if held.get(name) != value]
    if differs:
        name = differs[0]
        raise ValueError(
            f"{stories.folder} holds other clips: their {name} is {held.get(name)}, and {drawn[name]} is asked for; "
            "choose another folder or delete this one"
        )


def _length(stem: Path) -> int:
    """Clips of a shard; 0 where it is not there."""
    path = stem.with_suffix(".npy")
    return len(np.load(path, mmap_mode="r")) if path.exists() else 0


def _write(stem: Path, clips: list[StoryClip]) -> None:
    lines = "".join(json.dumps({"caption": c.caption, "facts": asdict(c.facts)}) + "\n" for c in clips)
    stem.with_suffix(".jsonl").write_text(lines)
    np.savez_compressed(stem.with_suffix(".npz"), thing=np.stack([c.thing for c in clips]))
    with open(draft := f"{stem}.npy.part", "wb") as file:
        np.save(file, np.stack([c.frames for c in clips]))
    os.replace(draft, stem.with_suffix(".npy"))  # last: its presence says that the shard is whole
