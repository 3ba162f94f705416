"""Building blocks of procedural sound: coloured noise, filters, slow random curves, decaying modes. All mono, [L]."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy import signal

Wave = Float[np.ndarray, " L"]
Curve = Float[np.ndarray, " L"]


@dataclass(frozen=True)
class Studio:
    """What a sound is made with: its own random numbers, its length in samples and the sample rate."""

    rng: np.random.Generator
    length: int
    rate: int

    @property
    def seconds(self) -> float:
        return self.length / self.rate

    @property
    def time(self) -> Wave:
        return np.arange(self.length) / self.rate

    def between(self, low: float | int, high: float | int) -> float:
        return float(self.rng.uniform(low, high))

    def pick(self, *options: str) -> str:
        return options[self.rng.integers(len(options))]

    def shorter(self, seconds: float | int) -> "Studio":
        return Studio(self.rng, max(round(seconds * self.rate), 1), self.rate)


def coloured(studio: Studio, exponent: float | int) -> Wave:
    """Gaussian noise of power 1/f^exponent and unit RMS: 0 white, 1 pink, 2 brown."""
    spectrum = np.fft.rfft(studio.rng.standard_normal(studio.length))
    frequencies = np.fft.rfftfreq(studio.length, 1 / studio.rate)
    spectrum *= np.maximum(frequencies, 20.0) ** (-exponent / 2)
    spectrum[0] = 0
    noise = np.fft.irfft(spectrum, studio.length)
    return noise / (np.sqrt(np.mean(noise**2)) + 1e-12)


def band(wave: Wave, low: float | int, high: float | int, rate: int, order: int = 2) -> Wave:
    """Butterworth band-pass; a bound beyond the spectrum's edge is left open."""
    top = 0.49 * rate
    if low <= 0:
        filter_ = signal.butter(order, min(high, top), "low", fs=rate, output="sos")
    elif high >= top:
        filter_ = signal.butter(order, low, "high", fs=rate, output="sos")
    else:
        filter_ = signal.butter(order, (low, high), "band", fs=rate, output="sos")
    return np.asarray(signal.sosfilt(filter_, wave))


def wander(studio: Studio, hertz: float | int) -> Curve:
    """A smooth random curve in [0, 1] that turns about `hertz` times a second."""
    points = max(round(studio.seconds * hertz), 1) + 3
    knots = studio.rng.random(points)
    where = studio.rng.random() + np.arange(studio.length) / max(studio.length, 1) * (points - 2)
    whole = where.astype(int)
    blend = 0.5 - 0.5 * np.cos(np.pi * (where - whole))
    return knots[whole] * (1 - blend) + knots[np.minimum(whole + 1, points - 1)] * blend


def sweep(frequency: Curve, rate: int) -> Wave:
    """A sine whose frequency in Hz follows a curve."""
    return np.sin(2 * np.pi * np.cumsum(frequency) / rate)


def harmonics(frequency: Curve, weights: tuple[float | int, ...], rate: int) -> Wave:
    """Sines at whole multiples of a frequency curve; those above the spectrum's edge are left out."""
    phase = 2 * np.pi * np.cumsum(frequency) / rate
    top = float(frequency.max())
    kept = [(k, w) for k, w in enumerate(weights, 1) if k * top < 0.48 * rate]
    return sum((w * np.sin(k * phase) for k, w in kept), np.zeros_like(phase))


def modes(
    studio: Studio, frequencies: Sequence[float | int], decays: Sequence[float | int], weights: Sequence[float | int]
) -> Wave:
    """Struck object: damped sines, `decays` in seconds to 1/e, with random phases."""
    time, wave = studio.time, np.zeros(studio.length)
    for frequency, decay, weight in zip(frequencies, decays, weights, strict=True):
        if frequency < 0.48 * studio.rate:
            phase = studio.between(0, 2 * np.pi)
            wave += weight * np.exp(-time / decay) * np.sin(2 * np.pi * frequency * time + phase)
    return wave * np.minimum(time / 0.001, 1)


def burst(studio: Studio, seconds: float | int, decay: float | int, low: float | int, high: float | int) -> Wave:
    """Band-limited noise that starts at once and dies away."""
    short = studio.shorter(seconds)
    noise = band(short.rng.standard_normal(short.length), low, high, short.rate)
    return noise * np.exp(-short.time / decay) * np.minimum(short.time / 0.001, 1)


def hump(length: int, attack: float | int) -> Curve:
    """Rises to 1 at the fraction `attack` of its length and falls back to 0, smoothly."""
    x = np.linspace(0, 1, length)
    warped = np.where(x < attack, 0.5 * x / attack, 0.5 + 0.5 * (x - attack) / (1 - attack))
    return np.sin(np.pi * warped) ** 2


def put(wave: Wave, event: Float[np.ndarray, " E"], start: float | int, rate: int) -> None:
    """Adds an event into `wave` in place, from `start` seconds; what lies beyond the end is cut."""
    first = max(round(start * rate), 0)
    count = min(len(event), len(wave) - first)
    if count > 0:
        wave[first : first + count] += event[:count]


def echo(wave: Wave, studio: Studio, seconds: float | int, wet: float | int) -> Wave:
    """A room: convolution with exponentially decaying noise."""
    short = studio.shorter(seconds)
    tail = short.rng.standard_normal(short.length) * np.exp(-short.time * 6 / seconds)
    reverberant = np.asarray(signal.fftconvolve(wave, tail))[: len(wave)]
    loudness = np.sqrt(np.mean(wave**2) / (np.mean(reverberant**2) + 1e-12))
    return wave + wet * loudness * reverberant
