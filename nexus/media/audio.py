"""Sound as a value: immutable float32 samples and their rate. Time is counted in samples.

Axes: C channels, L samples.
"""

import base64
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from nexus.media.io import PathLike, check_suffix, check_writable, write_atomically

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, slots=True, eq=False, init=False, repr=False)
class Audio:
    """Samples [C, L], nominally in [-1, 1], at `rate` Hz. Equal when rate and every sample are equal."""

    samples: Float[ndarray, "C L"]
    rate: int

    def __init__(self, samples: Any, rate: int):
        """`samples`: floating-point array or tensor [L] or [C, L], copied."""
        if hasattr(samples, "detach"):
            samples = samples.detach().cpu().float().numpy()
        array = np.asarray(samples)
        if array.dtype.kind != "f":
            if array.size or array.dtype.kind not in "iu":
                raise ValueError(
                    f"samples must be floating-point numbers in [-1, 1], got {array.dtype}; scale them first"
                )
            array = array.astype(np.float32)
        if array.ndim == 1:
            array = array[None]
        if array.ndim != 2 or not 1 <= len(array) <= 1024:
            raise ValueError(f"samples must be [length] or [channels, length], got shape {list(np.shape(samples))}")
        if isinstance(rate, bool) or int(rate) != rate or rate < 1:
            raise ValueError(f"rate must be a positive whole number of samples a second, got {rate!r}")
        array = np.array(array, dtype=np.float32, order="C")
        if not np.isfinite(array).all():
            raise ValueError("samples must be finite numbers, got NaN or infinity")
        array.flags.writeable = False
        object.__setattr__(self, "samples", array)
        object.__setattr__(self, "rate", int(rate))

    @classmethod
    def load(cls, path: PathLike, rate: int | None = None, mono: bool = False) -> "Audio":
        """Reads a sound file, or the sound of a video file; resampled and mixed down where asked.

        Raises:
            OSError: the file cannot be opened.
            ValueError: it is damaged, cut short, or not what its name says.
        """
        from nexus.media.audio_io import decode

        audio = cls(*decode(path))
        audio = audio.mono() if mono else audio
        return audio if rate is None else audio.resample(rate)

    @classmethod
    def silence(cls, length: int, rate: int, channels: int = 1) -> "Audio":
        return cls(np.zeros((channels, _count("length", length)), np.float32), rate)

    @classmethod
    def concatenate(cls, parts: Sequence["Audio"]) -> "Audio":
        """One after another; mono parts are spread over the channels of the others."""
        channels = _common(parts)
        return cls(np.concatenate([part.to_channels(channels).samples for part in parts], axis=1), parts[0].rate)

    @classmethod
    def mix(cls, parts: Sequence[tuple["Audio", int, float | int]], length: int | None = None) -> "Audio":
        """Sum of (audio, offset in samples, gain in dB); as long as the latest end, or cut or padded to `length`."""
        channels = _common([audio for audio, _, _ in parts])
        ends = [_count("offset", offset) + audio.length for audio, offset, _ in parts]
        total = np.zeros((channels, max(ends)), np.float64)
        for (audio, offset, gain), end in zip(parts, ends, strict=True):
            total[:, offset:end] += audio.to_channels(channels).samples * 10 ** (gain / 20)
        mixed = cls(total, parts[0][0].rate)
        return mixed if length is None else mixed.fit(length)

    @property
    def channels(self) -> int:
        return len(self.samples)

    @property
    def length(self) -> int:
        """Samples per channel."""
        return self.samples.shape[1]

    @property
    def duration(self) -> Fraction:
        """Seconds, exactly."""
        return Fraction(self.length, self.rate)

    @property
    def seconds(self) -> float:
        return float(self.duration)

    @property
    def peak(self) -> float:
        """Largest absolute sample."""
        return float(np.abs(self.samples).max(initial=0))

    def loudness(self) -> float:
        """Integrated loudness in LUFS (ITU-R BS.1770); -inf for silence."""
        from nexus.media.loudness import integrated_loudness

        return integrated_loudness(self.samples, self.rate)

    def true_peak(self) -> float:
        """Peak between the samples too, in dBTP; -inf for silence."""
        from nexus.media.loudness import true_peak

        return true_peak(self.samples, self.rate)

    def save(self, path: PathLike, bitrate: int | None = None) -> None:
        """Writes WAV (32-bit float, exact), FLAC (24 bit), Ogg Vorbis, Opus, MP3 or M4A (AAC), all of it or nothing.

        Opus, MP3 and M4A are resampled where the format lacks the rate. FLAC clips beyond [-1, 1].
        `bitrate` in bits per second, for Opus, MP3 and M4A only.
        """
        from nexus.media import audio_io

        suffix = check_suffix(path, audio_io.WRITABLE)
        check_writable(path)
        if self.channels > audio_io.max_channels(suffix):
            most = audio_io.max_channels(suffix)
            raise ValueError(
                f"{suffix} holds up to {most} channels, got {self.channels}; .wav holds them, or to_channels(2)"
            )
        if bitrate is not None and suffix not in (".opus", ".mp3", ".m4a"):
            raise ValueError(f"bitrate is for .opus, .mp3 and .m4a, got {suffix}")
        if not self.length and suffix in (".opus", ".mp3", ".m4a"):
            raise ValueError(f"an empty sound cannot be kept as {suffix}; .wav, .flac and .ogg can")
        audio = self.resample(audio_io.supported_rate(suffix, self.rate))
        write_atomically(path, audio_io.encode(audio.samples, audio.rate, suffix, bitrate))

    def resample(self, rate: int) -> "Audio":
        """At another rate (soxr, very high quality); the new length is ceil(length * rate / self.rate), exactly."""
        import soxr

        if rate == self.rate:
            return self
        if isinstance(rate, bool) or int(rate) != rate or rate < 1:
            raise ValueError(f"rate must be a positive whole number of samples a second, got {rate!r}")
        length = math.ceil(Fraction(self.length * rate, self.rate))
        if not self.length:
            return type(self)(self.samples, rate)
        resampled = soxr.resample(np.ascontiguousarray(self.samples.T), self.rate, rate, quality="VHQ").T
        return type(self)(resampled, rate).fit(length)

    def mono(self) -> "Audio":
        """Mean of the channels."""
        return self if self.channels == 1 else type(self)(self.samples.mean(axis=0, keepdims=True), self.rate)

    def to_channels(self, channels: int) -> "Audio":
        """Mono is repeated, anything is averaged to mono, 5.1 is folded to stereo (ITU-R BS.775, without clipping)."""
        if channels == self.channels:
            return self
        if channels == 1:
            return self.mono()
        if self.channels == 1:
            return type(self)(np.repeat(self.samples, _count("channels", channels), axis=0), self.rate)
        if self.channels == 6 and channels == 2:
            left, right, centre, _, surround_left, surround_right = self.samples
            half = math.sqrt(0.5)
            stereo = np.stack([left + half * (centre + surround_left), right + half * (centre + surround_right)])
            return type(self)(stereo / (1 + 2 * half), self.rate)
        raise ValueError(
            f"{self.channels} channels cannot become {channels}; 1 can become any, any can become 1, 6 can become 2"
        )

    def cut(self, start: int, stop: int | None = None) -> "Audio":
        """Samples start..stop, which must lie inside; `stop` is the end where not given."""
        stop = self.length if stop is None else stop
        if not 0 <= start <= stop <= self.length:
            raise ValueError(f"a cut must lie in 0..{self.length} samples, got {start}..{stop}")
        return type(self)(self.samples[:, start:stop], self.rate)

    def pad(self, before: int = 0, after: int = 0) -> "Audio":
        """Silence added at the ends, in samples."""
        width = ((0, 0), (_count("before", before), _count("after", after)))
        return type(self)(np.pad(self.samples, width), self.rate)

    def fit(self, length: int) -> "Audio":
        """Cut or padded with silence at its end to exactly `length` samples."""
        length = _count("length", length)
        return self.cut(0, length) if length <= self.length else self.pad(after=length - self.length)

    def gain(self, decibels: float | int) -> "Audio":
        return type(self)(self.samples * np.float32(10 ** (decibels / 20)), self.rate)

    def fade(self, fade_in: int = 0, fade_out: int = 0) -> "Audio":
        """Raised-cosine fades at the ends, in samples; a fade longer than the sound is shortened to it."""
        envelope = np.ones(self.length)
        for samples, part in ((fade_in, envelope), (fade_out, envelope[::-1])):
            n = min(_count("fade", samples), self.length)
            part[:n] *= 0.5 - 0.5 * np.cos(np.pi * (np.arange(n) + 0.5) / max(n, 1))
        return type(self)(self.samples * envelope, self.rate)

    def tensor(self) -> "torch.Tensor":
        """float32 tensor [C, L] of its own."""
        import torch

        return torch.from_numpy(self.samples.copy())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Audio) and self.rate == other.rate and np.array_equal(self.samples, other.samples)

    def __hash__(self) -> int:
        return hash((self.rate, self.samples.shape, self.samples.tobytes()))

    def __repr__(self) -> str:
        channels = {1: "mono", 2: "stereo"}.get(self.channels, f"{self.channels} channels")
        return f"Audio({self.seconds:.3f} s, {self.rate} Hz, {channels})"

    def _repr_html_(self) -> str:
        import soundfile

        buffer = io.BytesIO()
        soundfile.write(buffer, self.samples.T, self.rate, format="WAV", subtype="PCM_16")
        source = base64.b64encode(buffer.getvalue()).decode()
        return f'<audio controls src="data:audio/wav;base64,{source}"></audio><div>{self!r}</div>'


def _count(name: str, value: int) -> int:
    if isinstance(value, bool) or int(value) != value or value < 0:
        raise ValueError(f"{name} must be a whole number of at least 0, got {value!r}")
    return int(value)


def _common(parts: Sequence[Audio]) -> int:
    """The channels that all parts can have; refuses no parts and parts of different rates."""
    if not parts:
        raise ValueError("at least one sound is needed, got none; Audio.silence(0, rate) is the empty one")
    rates = sorted({part.rate for part in parts})
    if len(rates) > 1:
        raise ValueError(f"sounds must share one rate, got {rates}; resample them first")
    return max(part.channels for part in parts)
