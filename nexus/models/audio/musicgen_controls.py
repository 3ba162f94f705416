"""Temporal controls of MusicGen: at every frame the place in the beat and the bar, the key, and the pitches to follow.

A tempo told in words is hardly followed by a small language model: a note a little late costs it next to nothing. Told
where each frame lies in its beat, it has nothing to count. As in MusiConGen (arXiv:2407.15060), which gives MusicGen
beats and chords, and JASCO (arXiv:2406.10970), the controls are added to the steps' embeddings.
Axes: B batch, T frames, F features, D width.
"""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn import functional as F

from nexus.media.features import chroma
from nexus.text.chords import SCALES
from nexus.text.music_prompts import N_KEYS, Score

HARMONICS = 4  # of the beat and of the bar
N_FEATURES = 2 + 2 * HARMONICS + 1 + 2 * HARMONICS + N_KEYS + 1 + 12
CHORD_TONES = (1.0, 0.7, 0.8, 0.5, 0.4)  # about as loud as in music that plays them: root, third, fifth and further
BAR_SECONDS = 2.0  # where no tempo is known
N_FFT, HOP_LENGTH = 8192, 2048  # of the chroma followed; samples of the codec's rate


def turns(phase: Float[Tensor, "B T"]) -> Float[Tensor, "B T H"]:
    """Cosines and sines of a phase (one turn is 1) and of its multiples."""
    angles = 2 * math.pi * phase[..., None] * torch.arange(1, HARMONICS + 1, device=phase.device)
    return torch.cat([angles.cos(), angles.sin()], dim=-1)


def features(
    beats: Float[Tensor, "B T"],
    beats_per_frame: Float[Tensor, " B"],
    beats_per_bar: Int64[Tensor, " B"],
    key: Int64[Tensor, " B"],
    pitches: Float[Tensor, "B 12 T"] | None = None,
) -> Float[Tensor, "B T F"]:
    """What `Controls` reads; all of what is unknown is zero.

    Args:
        beats: since the beginning, in fractions, at the start of each frame.
        beats_per_frame: 0 where the tempo is unknown.
        beats_per_bar: 0 where it is unknown.
        key: -1 where it is unknown.
        pitches: loudness of the pitch classes, at most 1; all zero in items without.
    """
    known = (beats_per_frame > 0)[:, None, None]
    tempo = (25 * beats_per_frame).clamp(min=1e-3).log2()[:, None, None].expand(*beats.shape, 1)  # about 0
    beat = torch.cat([torch.ones_like(tempo), tempo, turns(beats % 1)], dim=-1) * known
    in_bar = known & (beats_per_bar > 0)[:, None, None]
    bar = beats / beats_per_bar.clamp(min=1)[:, None] % 1
    bar = torch.cat([torch.ones_like(tempo), turns(bar)], dim=-1) * in_bar
    keys = F.one_hot(key + 1, N_KEYS + 1)[:, None, 1:].expand(-1, beats.shape[1], -1).to(beats.dtype)
    if pitches is None:
        pitches = beats.new_zeros(len(beats), 12, beats.shape[1])
    heard = pitches.mT.amax((1, 2), keepdim=True).gt(0).expand_as(tempo).to(beats.dtype)
    return torch.cat([beat, bar, keys, heard, pitches.mT], dim=-1)


def features_of(
    scores: Sequence[Score],
    start: int,
    n_frames: int,
    frame_rate: float,
    pitches: Float[Tensor, "B 12 P"] | None = None,
    frames_per_pitch: float = 1.0,
) -> Float[Tensor, "B n_frames F"]:
    """Those of frames `start` and after; beats are counted from frame 0, and pitches begin again where they end."""
    rates = torch.tensor([(score.bpm or 0.0) / 60 / frame_rate for score in scores], dtype=torch.float64)
    frames = torch.arange(start, start + n_frames)
    followed = None
    if pitches is not None:
        followed = pitches.cpu()[:, :, (frames / frames_per_pitch).long() % pitches.shape[2]]
    return features(
        (frames * rates[:, None]).float(),
        rates.float(),
        torch.tensor([score.beats_per_bar or 0 for score in scores]),
        torch.tensor([-1 if score.key is None else score.key for score in scores]),
        followed,
    )


def pitches_of(waveform: Float[Tensor, "B L"], sample_rate: int) -> Float[Tensor, "B 12 P"]:
    """The pitch classes to follow, the loudest of a moment 1; silence is zero."""
    return chroma(waveform, sample_rate, N_FFT, HOP_LENGTH).float().sqrt()


def pitches_of_chords(
    score: Score, seconds: Float[Tensor, " P"], key_tones: float = 0.05, rest: float = 0.02
) -> Float[Tensor, "12 P"]:
    """The same of a score's chords at some times: one a bar (or two seconds), from the beginning again where they end.

    Args:
        key_tones: how loud the key's other tones are, for the melody; `rest` what is in neither.
    """
    assert score.chords is not None
    bar = BAR_SECONDS if score.bpm is None else (score.beats_per_bar or 4) * 60 / score.bpm
    loudness = torch.full((len(score.chords), 12), rest)
    for chord, row in zip(score.chords, loudness, strict=True):
        if score.key is not None:
            row[[(score.key + step) % 12 for step in SCALES[score.key // 12]]] = key_tones
        row[list(chord.pitch_classes[::-1])] = torch.tensor(CHORD_TONES[: len(chord.intervals)][::-1])
    return loudness[(seconds / bar + 1e-6).long() % len(loudness)].mT


class Controls(nn.Module):
    """Features to what is added to the embeddings; nothing before it has learnt."""

    def __init__(self, dim: int):
        super().__init__()
        self.up = nn.Linear(N_FEATURES, dim)
        self.down = nn.Linear(dim, dim, bias=False)
        nn.init.zeros_(self.down.weight)

    def forward(self, features: Float[Tensor, "B T F"]) -> Float[Tensor, "B T D"]:
        return self.down(F.gelu(self.up(features.to(self.up.weight.dtype))))
