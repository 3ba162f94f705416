"""Media made worse on purpose: the anchors and traps of listening and viewing tests."""

from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import UInt8
from numpy import ndarray

from nexus.media import Audio, Image, Video

CUTOFF = 3500  # Hz, the low anchor of ITU-R BS.1534-3
COARSER = 8  # times, for pictures


def low_passed(audio: Audio, cutoff: int = CUTOFF) -> Audio:
    """Without what lies above the cutoff in Hz (eighth-order Butterworth, no delay); unchanged where nothing does."""
    from scipy.signal import butter, sosfiltfilt

    if audio.rate <= 2 * cutoff or not audio.length:
        return audio
    sections = np.asarray(butter(8, cutoff, fs=audio.rate, output="sos"))
    pad = min(audio.length - 1, 3 * (2 * len(sections) + 1))
    return Audio(sosfiltfilt(sections, audio.samples, axis=1, padlen=pad), audio.rate)


def noisy(audio: Audio, decibels: float = 0.0) -> Audio:
    """With noise that follows the sound, `decibels` below it (modulated noise reference unit, ITU-T P.810).

    As loud as before; scaled down where a peak would exceed 1.
    """
    noise = np.random.default_rng(0).standard_normal(audio.samples.shape)
    ratio = 10 ** (-decibels / 20)
    mixed = audio.samples * (1 + ratio * noise) / np.sqrt(1 + ratio**2)
    return Audio(mixed / max(1.0, float(np.abs(mixed).max(initial=0))), audio.rate)


def coarse(pixels: UInt8[ndarray, "H W C"]) -> UInt8[ndarray, "H W C"]:
    """At an eighth of the resolution, of the same size."""
    height, width = pixels.shape[:2]
    small = Image(pixels).resize(max(1, height // COARSER), max(1, width // COARSER))
    return small.resize(height, width).pixels


def write_anchor(source: Path, to: Path, sound: Literal["low_passed", "noisy"]) -> None:
    """The degraded version of a media file, of the same format."""
    suffix = source.suffix.lower()
    if suffix in (".png", ".jpg", ".jpeg"):
        Image(coarse(Image.load(source).pixels)).save(to)
    elif suffix in (".mp4", ".webm", ".gif"):
        film = Video.load(source)
        even = film.frames[:, : film.height // 2 * 2 or None, : film.width // 2 * 2 or None]
        worse = None if film.audio is None else {"low_passed": low_passed, "noisy": noisy}[sound](film.audio)
        Video(np.stack([coarse(frame) for frame in even]), film.fps, worse).save(to)
    else:
        {"low_passed": low_passed, "noisy": noisy}[sound](Audio.load(source)).save(to)
