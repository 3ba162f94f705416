"""YIN on sounds whose pitch is known."""

import numpy as np
import pytest

from nexus.media.pitch import yin

RATE, HOP = 16000, 200


def test_voices_of_known_pitch():
    """Harmonics that fall off, gliding an octave; the weakest is the fundamental."""
    pitch = np.linspace(100, 200, RATE)
    phase = 2 * np.pi * np.cumsum(pitch) / RATE
    voice = sum(a * np.sin(k * phase) for k, a in ((1, 0.02), (2, 0.1), (3, 0.08), (5, 0.05)))
    told, voiced = yin(voice, RATE, HOP)
    assert told.shape == voiced.shape == (80,)
    middles = pitch[np.arange(80) * HOP + HOP // 2]
    inside = slice(3, -3)
    assert voiced[inside].all()
    np.testing.assert_allclose(told[inside], middles[inside], rtol=0.01)


@pytest.mark.parametrize("pitch", [70, 150.5, 440])
def test_tones(pitch):
    told, voiced = yin(0.3 * np.sin(2 * np.pi * pitch * np.arange(5001) / RATE), RATE, HOP)
    assert told.shape == (26,) and voiced[3:-3].all()
    np.testing.assert_allclose(told[3:-3], pitch, rtol=0.003)


def test_noise_and_silence_have_none():
    noise = 0.1 * np.random.default_rng(0).standard_normal(RATE)
    assert yin(noise, RATE, HOP)[1].mean() < 0.05
    told, voiced = yin(np.zeros(1000), RATE, HOP)
    assert not voiced.any() and not told.any()
    assert yin(np.zeros(1), RATE, HOP)[0].shape == (1,)


def test_pitches_that_cannot_be():
    with pytest.raises(ValueError, match="up to a quarter of 16000 Hz"):
        yin(np.zeros(100), RATE, HOP, highest=5000.0)
