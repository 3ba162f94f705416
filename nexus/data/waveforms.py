"""Random crops of long recordings: what codecs and vocoders learn from.

Axes: B batch, L waveform samples.
"""

import os
import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy import ndarray
from torch import Tensor

from nexus.data.music.composer import compose
from nexus.data.music.render import render
from nexus.data.reported import reported
from nexus.data.sound.world import synthesize
from nexus.data.speech import read_manifest
from nexus.media.audio import Audio


def cached(path: str | Path, waveforms: Callable[[], Iterable[ndarray]]) -> ndarray:
    """The waveforms [L] (float, in [-1, 1]) end to end as int16, made once and read through a memory map."""
    path = Path(path)
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        joined = np.concatenate([np.round(w.clip(-1, 1) * 32767).astype(np.int16) for w in waveforms()])
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=".waveforms-") as draft:
            np.save(Path(draft) / path.name, joined)
            os.replace(Path(draft) / path.name, path)
    return np.load(path, mmap_mode="r")


def speech(corpus: str | Path, split: str, sample_rate: int) -> Iterable[ndarray]:
    """Every utterance of a split of the speech corpus, mono."""
    for utterance in reported(read_manifest(corpus, split), "reading speech"):
        yield Audio.load(Path(corpus) / utterance.path, rate=sample_rate, mono=True).samples[0]


def music(split: Literal["train", "valid"], n_pieces: int, sample_rate: int) -> Iterable[ndarray]:
    """The composer's first pieces of a split, half a minute each, mono."""
    for seed in reported(range(n_pieces), "playing music"):
        yield render(compose(seed, split, seconds=30), 30, sample_rate).samples[0]


def sound(split: Literal["train", "valid"], n_clips: int, sample_rate: int) -> Iterable[ndarray]:
    """The sound world's first clips of a split, four seconds each, mono."""
    for seed in reported(range(n_clips), "making sounds"):
        yield synthesize(seed, split, rate=sample_rate).audio.samples[0]


def recordings(
    sources: Sequence[str], split: Literal["train", "valid"], *, corpus: str | Path, cache: str | Path, sample_rate: int
) -> list[ndarray]:
    """Cached waveforms of "speech" (the corpus), "music" (75 minutes for training) and "sound" (40 minutes).

    Raises:
        ValueError: another source.
    """
    training = split == "train"
    makers: dict[str, Callable[[], Iterable[ndarray]]] = {
        "speech": lambda: speech(corpus, split, sample_rate),
        "music": lambda: music(split, 150 if training else 8, sample_rate),
        "sound": lambda: sound(split, 600 if training else 40, sample_rate),
    }
    unknown = [source for source in sources if source not in makers]
    if unknown:
        raise ValueError(f"unknown source {unknown[0]!r}; there are {', '.join(makers)}")
    return [cached(Path(cache) / f"{name}-{split}-{sample_rate}.npy", makers[name]) for name in sources]


class RandomCrops:
    """Endless batches {"waveform": [B, 1, L], "step": [1]} of random places at random gains.

    Row *r* comes from source `r mod n`, so that every batch holds the sources in equal shares. `step` is the batch's
    own index: what a loss may switch on later in training.
    """

    def __init__(
        self,
        sources: Sequence[ndarray],
        *,
        length: int,
        batch_size: int,
        seed: int,
        gain_range: tuple[float, float] = (-12.0, 3.0),  # dB, kept below full scale
    ):
        short = [len(source) for source in sources if len(source) < length]
        if short or not sources:
            raise ValueError(f"crops of {length} samples need recordings at least as long, got {short or 'none'}")
        self.sources, self.length, self.batch_size = tuple(sources), length, batch_size
        self.seed, self.gain_range = seed, gain_range

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        rng = np.random.default_rng((self.seed, index))
        rows = [self._crop(self.sources[r % len(self.sources)], rng) for r in range(self.batch_size)]
        return {"waveform": torch.from_numpy(np.stack(rows))[:, None], "step": torch.tensor([index])}

    def _crop(self, source: ndarray, rng: np.random.Generator) -> ndarray:
        start = rng.integers(len(source) - self.length + 1)
        crop = source[start : start + self.length].astype(np.float32) / 32767
        gain = 10 ** (rng.uniform(*self.gain_range) / 20)
        return crop * np.float32(min(gain, 0.99 / max(np.abs(crop).max(), 1e-3)))
