import numpy as np
import pytest
import scipy.signal

from nexus.film.limiter import limit, peak_envelope

RATE = 48000


def true_peak_db(samples: np.ndarray) -> float:
    """An oversampling filter other than the limiter's."""
    fine = scipy.signal.resample_poly(samples.astype(np.float64), 8, 1, axis=1, window=("kaiser", 10.0))
    return 20 * np.log10(np.abs(fine).max())


@pytest.mark.parametrize("kind", ["noise", "clicks", "sine", "square"])
def test_peaks_stay_under_the_ceiling(kind):
    rng, t = np.random.default_rng(0), np.arange(2 * RATE) / RATE
    clicks = (rng.random((2, 2 * RATE)) > 0.9995).astype(float)
    hiss = scipy.signal.sosfilt(scipy.signal.butter(12, 18000, fs=RATE, output="sos"), rng.normal(size=(2, 2 * RATE)))
    signals = {
        "noise": hiss,
        "clicks": 3 * clicks + 0.01 * rng.normal(size=clicks.shape),
        "sine": np.stack([2 * np.sin(2 * np.pi * 11999 * t + 0.7)] * 2),
        "square": np.sign(np.sin(2 * np.pi * 440 * t))[None],
    }
    samples = signals[kind].astype(np.float32)
    limited = limit(samples, peak_envelope(samples, RATE), RATE, -1.5)
    assert limited.shape == samples.shape and -2.6 < true_peak_db(limited) < -1.35


def test_quiet_sound_is_untouched_and_loud_moments_pass():
    rng = np.random.default_rng(1)
    quiet = (0.05 * rng.normal(size=(1, RATE))).astype(np.float32)
    assert limit(quiet, peak_envelope(quiet, RATE), RATE, -1.5) is quiet
    loud = quiet.copy()
    loud[0, RATE // 2] = 4
    limited = limit(loud, peak_envelope(loud, RATE), RATE, -1.5)
    far = np.r_[0 : RATE // 2 - 600, RATE // 2 + 3600 : RATE]
    np.testing.assert_array_equal(limited[:, far], loud[:, far])
    assert abs(limited[0, RATE // 2]) <= 10 ** (-1.5 / 20)
    assert limit(np.zeros((2, 0), np.float32), np.zeros(0, np.float32), RATE, -1.0).shape == (2, 0)


def test_channels_are_turned_down_together():
    samples = np.stack([np.full(RATE, 0.5), np.zeros(RATE)]).astype(np.float32)
    samples[1, RATE // 2] = 3
    limited = limit(samples, peak_envelope(samples, RATE), RATE, -1.5)
    assert limited[0, RATE // 2] < 0.25 and limited[0, 0] == 0.5


def test_the_envelope_sees_between_the_samples():
    t = np.arange(RATE) / RATE
    quarter = np.sin(2 * np.pi * 12000 * t + np.pi / 4)[None].astype(np.float32)
    envelope = peak_envelope(quarter, RATE)
    assert envelope.shape == (RATE,) and abs(np.median(envelope) - 1) < 0.01
