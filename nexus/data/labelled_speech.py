"""Crops of read speech with what is known of every frame: phone, pitch, voicing; and the speaker.

Axes: B batch, L waveform samples, T frames.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int
from numpy import ndarray
from torch import Tensor

from nexus.data.speech import Utterance
from nexus.media.audio import Audio
from nexus.media.pitch import yin
from nexus.text.phonemes import PAUSE, SYMBOLS

UNKNOWN = -1  # of frames whose symbol is no sound of its own
_SILENT = PAUSE + "!,.:;?—"
_NO_SOUND = " ˈˌː“”"
_PHONES = np.array([0 if s in _SILENT else UNKNOWN if s in _NO_SOUND else i for i, s in enumerate(SYMBOLS)])
LEAST_SPREAD = 0.05  # of a recording's log pitch, which a monotone voice would be divided by


def phones_of(utterance: Utterance, n_frames: int, frame_duration: float) -> Int[ndarray, " T"]:
    """The symbol in the middle of each frame of `frame_duration` seconds; 0 is silence."""
    middles = (np.arange(n_frames) + 0.5) * frame_duration * utterance.sample_rate
    return _PHONES[utterance.symbols[np.searchsorted(utterance.symbol_starts()[1:], middles, side="right")]]


class LabelledSpeech:
    """Endless batches of random crops: "waveform" [B, 1, L]; "phones", "pitch" and "voiced" [B, T]; "speakers" [B];
    "step" [1], the batch's index.

    Pitch is logarithmic, of zero mean and unit variance over a recording: how it moves, not whose it is.
    """

    def __init__(
        self,
        corpus: str | Path,
        utterances: Sequence[Utterance],
        speakers: Sequence[str],
        *,
        sample_rate: int,
        hop_length: int,
        length: int,
        batch_size: int,
        seed: int,
    ):
        if length % hop_length:
            raise ValueError(f"crops must be whole frames of {hop_length} samples, got {length}")
        self.corpus, self.speakers = Path(corpus), {name: i for i, name in enumerate(speakers)}
        self.sample_rate, self.hop_length, self.n_frames = sample_rate, hop_length, length // hop_length
        self.batch_size, self.seed = batch_size, seed
        least = length / sample_rate
        aligned = [u for u in utterances if u.durations and u.num_samples / u.sample_rate >= least]
        self.utterances = [u for u in aligned if u.speaker in self.speakers]
        if not self.utterances:
            raise ValueError(f"no utterance of these speakers has durations and lasts {least:g} s")

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        rng = np.random.default_rng((self.seed, index))
        rows = [self._row(self.utterances[i], rng) for i in rng.integers(len(self.utterances), size=self.batch_size)]
        batch = {name: torch.from_numpy(np.stack([row[name] for row in rows])) for name in rows[0]}
        return batch | {"step": torch.tensor([index])}

    def _row(self, utterance: Utterance, rng: np.random.Generator) -> dict[str, ndarray]:
        hop, n = self.hop_length, self.n_frames
        audio = Audio.load(self.corpus / utterance.path, rate=self.sample_rate, mono=True).samples[0]
        audio = np.pad(audio, (0, max(0, n * hop - len(audio))))
        pitch, voiced = yin(audio, self.sample_rate, hop)
        phones = phones_of(utterance, len(pitch), hop / self.sample_rate)
        start = int(rng.integers(len(audio) // hop - n + 1))
        place, samples = slice(start, start + n), slice(start * hop, (start + n) * hop)
        return {
            "waveform": audio[None, samples].astype(np.float32),
            "phones": phones[place],
            "pitch": moves(pitch, voiced)[place].astype(np.float32),
            "voiced": voiced[place].astype(np.float32),
            "speakers": np.array(self.speakers[utterance.speaker]),
        }


def moves(pitch: ndarray, voiced: ndarray) -> ndarray:
    """Log pitch less its mean, over its spread; 0 where there is none."""
    if not voiced.any():
        return np.zeros_like(pitch)
    logs = np.log(pitch[voiced])
    moved = np.zeros_like(pitch)
    moved[voiced] = (logs - logs.mean()) / max(logs.std(), LEAST_SPREAD)
    return moved
