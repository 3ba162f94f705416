import warnings

import numpy as np
import pyloudnorm
import pytest
import scipy.signal

from nexus.media.audio import Audio
from nexus.media.loudness import decibels, loudness_of_blocks


def sine(hertz: float, seconds: float, rate: int = 48000, amplitude: float = 1.0, phase: float = 0.0) -> np.ndarray:
    return amplitude * np.sin(2 * np.pi * hertz * np.arange(int(seconds * rate)) / rate + phase)


@pytest.mark.parametrize("rate", [16000, 24000, 44100, 48000])
def test_the_tone_of_the_standard(rate):
    """BS.1770-4: a full-scale 997 Hz sine in one of the front channels measures -3.01 LKFS."""
    assert abs(Audio(sine(997, 3, rate), rate).loudness() + 3.01) < 0.1
    stereo = Audio(np.stack([sine(997, 3, rate)] * 2), rate)
    assert abs(stereo.loudness() - 0.0) < 0.1
    assert abs(stereo.gain(-23).loudness() + 23) < 0.1


@pytest.mark.parametrize("rate", [8000, 11025, 44100])
@pytest.mark.parametrize("channels", [1, 2, 5])
@pytest.mark.parametrize("seconds", [0.401, 0.45, 3.33, 7.849])
def test_pieces_measure_what_pyloudnorm_makes_of_the_whole(rate, channels, seconds):
    rng, n = np.random.default_rng(0), int(rate * seconds)
    level = np.exp(rng.standard_normal((1, n // 500 + 1)).cumsum(axis=1) * 0.5).repeat(500, axis=1)[:, :n]
    samples = (0.05 * level * rng.standard_normal((channels, n))).astype(np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it says where samples are beyond full scale
        expected = pyloudnorm.Meter(rate, block_size=0.4).integrated_loudness(samples.T.astype(np.float64))
    pieces = np.split(samples, [0, *np.sort(rng.integers(0, n, 5)).repeat(2)], axis=1)  # some of them empty
    assert loudness_of_blocks(pieces, rate) == pytest.approx(expected, abs=1e-9)
    assert Audio(samples, rate).loudness() == pytest.approx(expected, abs=1e-9)


def test_gating_leaves_silence_out():
    loud = sine(997, 5, amplitude=0.1)
    spaced = np.concatenate([loud, np.zeros(48000 * 5)])
    assert abs(Audio(spaced, 48000).loudness() - Audio(loud, 48000).loudness()) < 0.3


def test_short_silent_and_surround_sounds():
    assert Audio.silence(48000, 48000).loudness() == -np.inf
    assert Audio(np.zeros(3), 48000).loudness() == -np.inf
    assert Audio(np.zeros(0), 48000).loudness() == -np.inf == loudness_of_blocks([], 4000)
    click = Audio(sine(997, 0.05), 48000)
    assert -20 < click.loudness() < -3.01
    assert click.gain(-100).loudness() == -np.inf  # under the absolute gate of -70 LUFS
    assert Audio(sine(997, 1, 4000), 4000).loudness() == pytest.approx(-3.01, abs=0.5)
    low_frequency = np.zeros((6, 48000))
    low_frequency[3] = sine(60, 1)
    assert Audio(low_frequency, 48000).loudness() == -np.inf
    low_frequency[0] = sine(997, 1)
    assert abs(Audio(low_frequency, 48000).loudness() + 3.01) < 0.2
    with pytest.raises(ValueError, match="to_channels"):
        Audio(np.ones((7, 100)), 48000).loudness()


def test_true_peak_sees_between_the_samples():
    """A sine at a quarter of the rate sampled at 45 degrees: samples 3 dB under its crest."""
    audio = Audio(sine(12000, 1, phase=np.pi / 4).astype(np.float32) * np.hanning(48000), 48000)
    assert abs(decibels(audio.peak) + 3.01) < 0.05
    assert abs(audio.true_peak()) < 0.1
    oversampled = scipy.signal.resample_poly(audio.samples[0], 16, 1, window=("kaiser", 12.0))
    assert abs(audio.true_peak() - decibels(float(np.abs(oversampled).max()))) < 0.1
    assert Audio.silence(100, 48000).true_peak() == -np.inf and decibels(0.5) == pytest.approx(-6.02, abs=0.01)
