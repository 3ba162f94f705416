import numpy as np
import pyloudnorm
import pytest
import scipy.signal

from nexus.film.mix import LEVELS, MixResult, fill, levelled, mix, speech_envelope
from nexus.media.audio import Audio

RATE = 48000


def voice(seconds: float, rate: int = RATE) -> Audio:
    """Syllables of a buzz: a sound that comes and goes as speech does."""
    t = np.arange(int(seconds * rate)) / rate
    buzz = scipy.signal.sawtooth(2 * np.pi * 140 * t) * np.clip(np.sin(2 * np.pi * 3 * t) + 0.6, 0, 1)
    return Audio(0.05 * buzz, rate)


def strings(seconds: float) -> Audio:
    t = np.arange(int(seconds * RATE)) / RATE
    return Audio(np.stack([np.sin(2 * np.pi * f * t) for f in (220, 277.2)]) * 0.9, RATE)


def noise(seconds: float, rate: int = 16000) -> Audio:
    return Audio(np.random.default_rng(0).normal(size=int(seconds * rate)) * 0.3, rate)


def measured(result: MixResult) -> tuple[float, float]:
    """Loudness and true peak by means other than ours."""
    samples = result.master.samples.astype(np.float64)
    fine = scipy.signal.resample_poly(samples, 8, 1, axis=1, window=("kaiser", 10.0))
    loudness = pyloudnorm.Meter(result.master.rate).integrated_loudness(samples.T)
    return loudness, 20 * np.log10(np.abs(fine).max())


@pytest.fixture(scope="module")
def film() -> MixResult:
    stems = {
        "dialogue": [(voice(2), 4 * RATE, 0.0), (voice(1.5, 24000), 9 * RATE, 0)],
        "music": [(strings(12), 0, 0.0)],
        "effects": [(noise(3), 0, -6.0), (noise(2), 11 * RATE, 0.0)],
    }
    return mix(stems, 12 * RATE, RATE)


def level(audio: Audio, begin: float, end: float) -> float:
    part = audio.samples[:, int(begin * audio.rate) : int(end * audio.rate)]
    return float(10 * np.log10(np.square(part, dtype=np.float64).mean()))


def test_loudness_and_peak_hold(film):
    loudness, peak = measured(film)
    assert abs(loudness + 16) < 0.5 and peak <= -1
    assert abs(film.loudness - loudness) < 0.1 and abs(film.true_peak - peak) < 0.2
    assert film.master.length == 12 * RATE and film.master.channels == 2


@pytest.mark.parametrize("kind", ["clicks", "quiet", "loud", "short", "one word"])
def test_loudness_and_peak_hold_for_hard_material(kind):
    clicks = np.random.default_rng(0).normal(size=4 * RATE) * 0.001
    clicks[::4801] = 1
    clip, length = {
        "clicks": (Audio(clicks, RATE), 4 * RATE),
        "quiet": (noise(4).gain(-55), 4 * RATE),
        "loud": (noise(4).gain(30), 4 * RATE),
        "short": (strings(0.5), RATE // 2),
        "one word": (voice(0.6), 8 * RATE),
    }[kind]
    loudness, peak = measured(mix({"effects": [(clip, 0, 0.0)]}, length, RATE))
    assert abs(loudness + 16) < 0.5 and peak <= -1


def test_music_makes_room_for_speech(film):
    music = film.stems["music"]
    apart, under = level(music, 2, 3.5), level(music, 4.1, 5.9)
    assert abs((under - apart) + 9) < 0.5
    assert level(music, 3.97, 4.0) - apart < -6  # already down when the first word comes
    assert abs(level(music, 7.2, 8.5) - apart) < 0.3
    steps = np.abs(np.diff(20 * np.log10(np.abs(music.samples[0]).reshape(-1, 2400).max(axis=1))))
    assert steps.max() < 3.5  # dB within 50 ms: a slope, not a jump
    assert np.allclose(speech_envelope(np.zeros((2, 1000)), RATE), 0)


def test_stems_sum_to_the_master_where_nothing_is_limited():
    stems = {"dialogue": [(strings(3), 0, 0.0)], "effects": [(noise(2), RATE, 0.0)]}
    result = mix(stems, 3 * RATE, RATE)
    total = sum(stem.samples for stem in result.stems.values())
    if np.abs(total).max() < 0.8:
        np.testing.assert_allclose(result.master.samples, total, atol=1e-5)
    assert set(result.stems) == {"dialogue", "music", "effects"} and result.stems["music"].peak == 0
    assert np.abs(total).max() < 0.8 and all(stem.length == 3 * RATE for stem in result.stems.values())


def test_the_limiter_is_all_that_lies_between_stems_and_master(film):
    total = sum(stem.samples.astype(np.float64) for stem in film.stems.values())
    loud = np.abs(total[0]) > 0.01
    gain = film.master.samples[0][loud] / total[0][loud]
    assert gain.max() < 1.001 and gain.min() > 0.1 and (np.abs(gain - 1) < 1e-3).any()


def test_gains_mean_the_same_for_every_clip():
    loud, soft = noise(3), noise(3).gain(-20)
    for clip in (loud, soft):
        assert abs(levelled(clip, -23.0).loudness() + 23) < 0.1
    result = mix({"effects": [(loud, 0, 0.0), (soft, 4 * RATE, -6.0)]}, 8 * RATE, RATE)
    assert abs(level(result.stems["effects"], 0, 3) - level(result.stems["effects"], 4, 7) - 6) < 0.2
    plain = mix({"effects": [(loud, 0, 0.0), (soft, 4 * RATE, 0.0)]}, 8 * RATE, RATE, level=False)
    assert abs(level(plain.stems["effects"], 0, 3) - level(plain.stems["effects"], 4, 7) - 20) < 0.2


def test_a_silent_film():
    for stems in ({}, {"dialogue": []}, {"music": [(Audio.silence(100, 8000), 0, 0.0)]}):
        result = mix(stems, RATE, RATE)
        assert result.master == Audio.silence(RATE, RATE, 2) and result.loudness == -np.inf
    assert mix({}, 0).master.length == 0


def test_clips_are_cut_at_the_end_and_refused_outside():
    result = mix({"music": [(strings(3), RATE, 0.0)]}, 2 * RATE, RATE)
    assert result.master.length == 2 * RATE and result.master.peak > 0.01
    with pytest.raises(ValueError, match="outside the film"):
        mix({"music": [(strings(1), 2 * RATE + 1, 0.0)]}, 2 * RATE, RATE)
    with pytest.raises(ValueError, match="stems are dialogue, music, effects, got foley"):
        mix({"foley": []}, 10)
    assert set(LEVELS) == {"dialogue", "music", "effects"}


@pytest.mark.parametrize("length", [0, 1, 7999, 8000, 20001, 64000])
def test_filling_a_stretch(length):
    steady = Audio(np.sqrt(2) * np.sin(2 * np.pi * 1000 * np.arange(8000) / 8000), 8000)
    filled = fill(steady, length)
    assert filled.length == length and filled.rate == 8000
    if length > 8000:
        inner = filled.samples[0, 1000 : length - 1000]
        power = np.sqrt(np.square(inner[: len(inner) // 400 * 400]).reshape(-1, 400).mean(axis=1))
        assert power.min() > 0.6 and power.max() < 1.5
    assert fill(Audio.silence(0, 8000), length) == Audio.silence(length, 8000)
