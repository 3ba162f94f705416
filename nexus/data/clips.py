"""Clips with captions: an endless stream that is a pure function of (seed, split, index), and its cache on disk.

A cache folder holds shards `00000.npy` (int16 [clips, samples], mono) with `00000.jsonl`, a line of facts a clip.
"""

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32, Int16

from nexus.data.reported import reported

SHARD = 20  # clips


class Clip(NamedTuple):
    samples: Float32[np.ndarray, " L"]  # mono, in [-1, 1]
    caption: str
    facts: dict[str, Any]


@runtime_checkable
class ClipStream(Protocol):
    """Clip `index` of an endless stream; `describe` says which stream, so that a cache is not resumed with another."""

    @property
    def rate(self) -> int: ...

    def __getitem__(self, index: int) -> Clip: ...

    def describe(self) -> dict[str, Any]: ...


def cache(stream: ClipStream, folder: Path, n: int, progress: Callable[[int, int], None] | None = None) -> None:
    """Writes the first `n` clips of a stream in shards; shards that are there are kept, so a stopped run goes on.

    Raises:
        ValueError: the folder holds another stream's clips.
    """
    folder.mkdir(parents=True, exist_ok=True)
    card = folder / "stream.json"
    described = json.dumps({**stream.describe(), "rate": stream.rate, "shard": SHARD}, indent=1)
    if card.exists() and json.loads(card.read_text()) != json.loads(described):
        raise ValueError(f"{folder} holds other clips ({card}); choose another folder or delete this one")
    replace(card, described.encode())
    for start in reported(range(0, n, SHARD), f"making clips, {SHARD} at a time"):
        path = folder / f"{start // SHARD:05d}.npy"
        end = min(start + SHARD, n)
        if shard_length(path) < end - start:
            write_shard(path, [stream[i] for i in range(start, end)])
        if progress:
            progress(end, n)


def shard_length(path: Path) -> int:
    """Clips in a shard; 0 where it or its facts are not there yet."""
    if not (path.exists() and path.with_suffix(".jsonl").exists()):
        return 0
    return len(np.load(path, mmap_mode="r"))


def write_shard(path: Path, clips: list[Clip]) -> None:
    lines = [json.dumps({"caption": clip.caption, **clip.facts}) for clip in clips]
    replace(path.with_suffix(".jsonl"), ("\n".join(lines) + "\n").encode())
    temporary = path.with_name(f".{path.name}.tmp")
    with temporary.open("wb") as file:
        np.save(file, np.stack([to_int16(clip.samples) for clip in clips]))
    os.replace(temporary, path)


def replace(path: Path, content: bytes) -> None:
    """Writes a file whole or not at all."""
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_bytes(content)
    os.replace(temporary, path)


def to_int16(samples: Float32[np.ndarray, " L"]) -> Int16[np.ndarray, " L"]:
    return np.round(np.clip(samples, -1, 1) * 32767).astype(np.int16)


@dataclass(frozen=True)
class CachedClips:
    """A cache folder, as it is when first looked at, as a sequence; audio is read clip by clip (memory-mapped)."""

    folder: Path

    def __post_init__(self):
        if not self.shards:
            raise ValueError(f"no cached clips in {self.folder}; make them with `nexus data build`")

    @cached_property
    def shards(self) -> list[Path]:
        return [path for path in sorted(self.folder.glob("[0-9]*.npy")) if path.with_suffix(".jsonl").exists()]

    @property
    def rate(self) -> int:
        return int(json.loads((self.folder / "stream.json").read_text())["rate"])

    @cached_property
    def n_clips(self) -> int:
        return SHARD * (len(self.shards) - 1) + shard_length(self.shards[-1])

    def __len__(self) -> int:
        return self.n_clips

    def __getitem__(self, index: int) -> Clip:
        if not 0 <= index < len(self):
            raise IndexError(f"clip {index} of {len(self)}")
        path = self.folder / f"{index // SHARD:05d}.npy"
        samples = np.load(path, mmap_mode="r")[index % SHARD].astype(np.float32) / 32767
        facts = json.loads(path.with_suffix(".jsonl").read_text().splitlines()[index % SHARD])
        return Clip(samples, facts.pop("caption"), facts)

    def __iter__(self) -> Iterator[Clip]:
        return (self[i] for i in range(len(self)))
