"""An endless stream of music clips: clip `i` is a piece of its split, cut to length, with many captions."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from nexus.data.clips import Clip, cache
from nexus.data.music.caption import caption
from nexus.data.music.composer import Split, compose
from nexus.data.music.render import render

CAPTIONS = 8


@dataclass(frozen=True)
class MusicClips:
    """`facts` holds the piece's own, `captions` (all true) and `melody` as rows [start s, length s, MIDI pitch]."""

    seed: int = 0
    seconds: float | int = 12.0
    split: Split = "train"
    rate: int = 24000

    def __getitem__(self, index: int) -> Clip:
        piece = compose(self.seed * 2**40 + index, self.split, seconds=self.seconds)
        samples = render(piece, self.seconds, self.rate).samples[0]
        captions = list(dict.fromkeys(caption(piece, i) for i in range(CAPTIONS)))
        second = piece.tempo / 60 * 480  # ticks
        melody = [
            [round(n.start / second, 4), round(n.length / second, 4), n.pitch]
            for n in piece.melody
            if n.start < self.seconds * second
        ]
        return Clip(samples, captions[0], {**piece.facts(), "captions": captions, "melody": melody})

    def describe(self) -> dict[str, Any]:
        return {"world": "music", **asdict(self)}


def cache_clips(
    folder: Path | str,
    n: int,
    seconds: float | int = 12.0,
    split: Split = "train",
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Renders `n` clips into a folder that `nexus.data.clips.CachedClips` reads; a stopped run goes on."""
    cache(MusicClips(seed, seconds, split), Path(folder), n, progress)
