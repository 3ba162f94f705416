"""The sound of the film: dialogue, music and effects levelled, ducked under speech, and mastered to a loudness.

Axes: C channels, L samples.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from scipy.ndimage import maximum_filter1d

from nexus.film.limiter import limit, peak_envelope
from nexus.media.audio import Audio

LOUDNESS = -16.0  # LUFS
TRUE_PEAK = -1.0  # dBTP, which the film must stay under
CEILING = -1.5  # dBTP of the master: AAC adds some tenths of a decibel to the peaks
TOLERANCE = 0.2  # LU
MOST_GAIN = 60.0  # dB

LEVELS = {"dialogue": -18.0, "music": -25.0, "effects": -28.0}  # LUFS of a clip at a gain of 0 dB
DUCKING = {"music": -9.0, "effects": -4.0}  # dB under speech
MOST_LIFT = 30.0  # dB that levelling adds to a quiet clip
BLOCK = 0.010  # seconds: the step in which speech is looked for
SPEECH_FLOOR = -35.0  # dB under the loudest block, where speech ends
BEFORE, AFTER = 0.20, 0.45  # seconds of ducking around speech
SLOPE = 0.30  # seconds in which music goes down or comes back

Placed = tuple[Audio, int, float | int]


@dataclass(frozen=True, kw_only=True)
class MixResult:
    """`master` is the limited sum of `stems`, which carry all other gains; all have one length."""

    master: Audio
    stems: dict[str, Audio]
    loudness: float  # LUFS of the master; -inf for silence
    true_peak: float  # dBTP of the master


def mix(stems: Mapping[str, Sequence[Placed]], length: int, rate: int = 48000, *, level: bool = True) -> MixResult:
    """Mixes (audio, start in samples, gain in dB) clips of the stems dialogue, music and effects to a stereo film.

    Clips are resampled to `rate` and cut at `length` samples. With `level`, each is first brought to the loudness
    that its stem has at 0 dB, so that a gain means the same for every voice and instrument.
    Raises:
        ValueError: an unknown stem, or a clip that starts outside the film.
    """
    unknown = sorted(set(stems) - set(LEVELS))
    if unknown:
        raise ValueError(f"stems are {', '.join(LEVELS)}, got {', '.join(unknown)}")
    layers = {name: _lay(name, stems.get(name, ()), length, rate, level) for name in LEVELS}
    speech = speech_envelope(layers["dialogue"], rate)
    for name, ducking in DUCKING.items():
        layers[name] = layers[name] * 10 ** (ducking / 20 * speech)
    total = np.sum(list(layers.values()), axis=0)
    gain, master = _master(total, rate)
    result = {name: Audio(layer * 10 ** (gain / 20), rate) for name, layer in layers.items()}
    return MixResult(master=master, stems=result, loudness=master.loudness(), true_peak=master.true_peak())


def levelled(audio: Audio, loudness: float) -> Audio:
    """The clip at this loudness (LUFS), lifted by no more than MOST_LIFT; silence stays silence."""
    measured = audio.loudness()
    return audio if measured == -math.inf else audio.gain(min(loudness - measured, MOST_LIFT))


def _lay(name: str, clips: Sequence[Placed], length: int, rate: int, level: bool) -> Float[ndarray, "2 L"]:
    """One stem: its clips summed at their places, in stereo."""
    layer = np.zeros((2, length), np.float64)
    for audio, start, gain in clips:
        if not 0 <= start <= length:
            raise ValueError(f"a clip of {name} starts at sample {start}, outside the film of {length} samples")
        clip = (audio if audio.channels <= 2 or audio.channels == 6 else audio.mono()).resample(rate).to_channels(2)
        clip = levelled(clip, LEVELS[name]) if level else clip
        end = min(start + clip.length, length)
        layer[:, start:end] += clip.samples[:, : end - start] * 10 ** (gain / 20)
    return layer


def speech_envelope(dialogue: Float[ndarray, "2 L"], rate: int) -> Float[ndarray, " L"]:
    """1 where somebody speaks, 0 where nobody does, with raised-cosine slopes that begin before the first word."""
    length = dialogue.shape[1]
    step = max(1, round(BLOCK * rate))
    blocks = -(-length // step)
    if not dialogue.any():
        return np.zeros(length)
    power = np.pad(np.square(dialogue).mean(axis=0), (0, blocks * step - length)).reshape(blocks, step).mean(axis=1)
    spoken = (power > power.max() * 10 ** (SPEECH_FLOOR / 10)).astype(np.float64)
    before, after, slope = (round(seconds / BLOCK) for seconds in (BEFORE, AFTER, SLOPE))
    spoken = np.pad(spoken, before + after + slope)
    size = before + after + 1
    wide = maximum_filter1d(spoken, size, origin=size // 2 - before)  # block b hears b - after .. b + before
    window = np.hanning(slope + 3)[1:-1]
    smooth = np.convolve(wide, window / window.sum(), mode="same")[before + after + slope :][:blocks]
    centres = (np.arange(blocks) + 0.5) * step
    return np.interp(np.arange(length), centres, np.clip(smooth, 0, 1))


def _master(total: Float[ndarray, "2 L"], rate: int) -> tuple[float, Audio]:
    """The gain in dB and the limited sound that meet both LOUDNESS and CEILING; silence is left alone.

    The limiter takes loudness away, so the gain is corrected by what is missing until both hold.
    """
    loudness = Audio(total, rate).loudness()
    if loudness == -math.inf:
        return 0.0, Audio(total, rate)
    gain, best, peaks = min(LOUDNESS - loudness, MOST_GAIN), None, peak_envelope(total, rate)
    for _ in range(8):
        factor = 10 ** (gain / 20)
        master = Audio(limit(total * factor, peaks * factor, rate, CEILING), rate)
        missing = LOUDNESS - master.loudness()
        if best is None or abs(missing) < abs(best[0]):
            best = missing, gain, master
        if abs(missing) <= TOLERANCE or gain >= MOST_GAIN:
            break
        gain = min(gain + 1.5 * missing, MOST_GAIN)  # more than is missing, for the limiter takes part of it away
    assert best is not None
    return best[1], best[2]


def fill(audio: Audio, length: int, crossfade: float = 0.5) -> Audio:
    """Exactly `length` samples of a clip: cut with a short fade, or repeated with crossfades (seconds) where too short.

    For music and steady noises; an empty clip becomes silence.
    """
    if not audio.length:
        return audio.fit(length)
    overlap = min(round(crossfade * audio.rate), audio.length // 2)
    step = audio.length - overlap
    looped = audio
    if audio.length < length:
        inner = audio.fade(fade_in=overlap, fade_out=overlap)
        count = -(-length // step)
        parts = [(audio.fade(fade_out=overlap), 0, 0.0)] + [(inner, i * step, 0.0) for i in range(1, count)]
        looped = Audio.mix(parts)
    return looped.fit(length).fade(fade_out=min(round(0.05 * audio.rate), length // 2))
