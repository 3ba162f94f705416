"""How far the sound of a film is from its picture: the shift at which onsets of sound meet sudden changes of picture.

Not SyncNet (which knows lips, and whose weights are not here) but plain correlation: it works where things that are
seen to happen are heard to happen, and says nothing where they don't.

Axes: F frames of the film.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from scipy.ndimage import gaussian_filter1d

from nexus.media import Audio, Video

WIDEST = 1.0  # seconds of shift that are tried
SHORTEST = 1.0  # seconds of film that must be left at every shift
STEPS = 10  # of a frame, to which the shift is told


@dataclass(frozen=True)
class Offset:
    seconds: float  # the sound is late by this much
    correlation: float  # at that shift, -1 to 1
    at_zero: float  # as the film is


def av_offset(video: Video, audio: Audio) -> Offset:
    """By the correlation of two curves, a value a frame, over shifts of at most a second.

    Raises:
        ValueError: a film of under three seconds, silence, or pictures that never change.
    """
    if min(video.seconds, audio.seconds) < 2 * WIDEST + SHORTEST:
        raise ValueError(
            f"an offset needs {2 * WIDEST + SHORTEST:g} s of film and of sound, "
            f"got {float(video.seconds):.1f} and {audio.seconds:.1f} s"
        )
    rate = float(video.fps) * STEPS
    heard, seen = loudening(audio, rate), np.zeros(video.length * STEPS)
    seen[::STEPS] = changes(video)
    seen, heard = gaussian_filter1d(seen, STEPS / 2), gaussian_filter1d(heard, STEPS / 2)
    n = min(len(seen), len(heard))
    seen, heard = seen[:n], heard[:n]
    if seen.std() < 1e-9 or heard.std() < 1e-9:
        raise ValueError(f"{'the picture never changes' if seen.std() < 1e-9 else 'the sound never begins'}")
    widest = round(WIDEST * rate)
    shifts = np.arange(-widest, widest + 1)
    found = np.array([_correlation(seen, heard, int(shift)) for shift in shifts])
    best = int(found.argmax())
    return Offset(float(shifts[best] / rate), float(found[best]), float(found[widest]))


def changes(video: Video) -> Float[ndarray, " F"]:
    """By how much each frame changes more than the one before it did, in grey levels; 0 for the first two."""
    frames = video.frames.astype(np.float32)
    change = np.abs(np.diff(frames, axis=0)).mean((1, 2, 3))
    return np.concatenate([[0, 0], np.diff(change).clip(min=0)])


def loudening(audio: Audio, rate: float) -> Float[ndarray, " N"]:
    """By how much the loudness (dB over -60 dB of the loudest) rises from one moment to the next, `rate` a second."""
    samples = audio.mono().samples[0].astype(np.float64)
    edges = np.round(np.arange(int(len(samples) / audio.rate * rate) + 1) * audio.rate / rate).astype(int)
    sums = np.concatenate([[0.0], np.cumsum(samples**2)])
    power = np.diff(sums[edges]) / np.diff(edges)
    level = 10 * np.log10(power.clip(min=max(power.max(), 1e-20) * 1e-6))
    return np.concatenate([[0.0], np.diff(level).clip(min=0)])


def _correlation(seen: ndarray, heard: ndarray, shift: int) -> float:
    n = len(seen) - abs(shift)
    a, b = seen[max(-shift, 0) :][:n], heard[max(shift, 0) :][:n]
    spread = a.std() * b.std()
    return float(((a - a.mean()) * (b - b.mean())).mean() / spread) if spread > 1e-12 else 0.0
