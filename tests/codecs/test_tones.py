"""Semitones heard in sound, and sines that sound them again."""

import math

import pytest
import torch

from nexus.codecs.tones import SemitoneAmplitudes, Tones, frequencies

RATE, HOP, N_TONES = 24000, 512, 72
A4 = 69 - 36  # place of 440 Hz


def sine(frequency: float, n_samples: int = 8192) -> torch.Tensor:
    return torch.sin(2 * math.pi * frequency * torch.arange(n_samples, dtype=torch.float64) / RATE).float()


def test_equal_temperament():
    assert frequencies(N_TONES)[A4].item() == pytest.approx(440)
    assert frequencies(N_TONES)[A4 + 12].item() == pytest.approx(880)


@pytest.mark.parametrize("place", [24, A4, 48, 60])
def test_a_sine_is_heard_at_its_semitone(place):
    analysis = SemitoneAmplitudes(RATE, 4096, N_TONES)
    amplitudes = analysis(0.3 * sine(frequencies(N_TONES)[place].item()).unfold(0, 4096, 512)[None])[0].mean(1)
    assert amplitudes.argmax() == place
    assert amplitudes[place].item() == pytest.approx(0.3, rel=0.1)


@pytest.mark.parametrize("place", [12, A4, 60])
def test_tones_sound_exactly_their_pitch(place):
    amplitudes = torch.zeros(1, N_TONES, 64)
    amplitudes[:, place] = 0.5
    wave = Tones(RATE, HOP, N_TONES)(amplitudes)[0, 0]
    assert wave.shape == (64 * HOP,)
    cycles = frequencies(N_TONES)[place] / RATE * torch.arange(len(wave), dtype=torch.float64)
    exact = torch.stack([(2 * math.pi * cycles).cos(), (2 * math.pi * cycles).sin()]).float()
    fitted = torch.linalg.lstsq(exact.mT, wave[:, None]).solution
    torch.testing.assert_close((exact.mT @ fitted)[:, 0], wave, atol=2e-4, rtol=0)
    assert fitted.square().sum().sqrt().item() == pytest.approx(0.5, rel=1e-3)


def test_loudness_goes_in_straight_lines():
    amplitudes = torch.zeros(1, N_TONES, 3)
    amplitudes[0, 60] = torch.tensor([0.0, 1.0, 0.0])
    wave = Tones(RATE, HOP, N_TONES)(amplitudes)[0, 0].abs()
    assert wave[: HOP // 2].max() == 0
    peaks = wave.unfold(0, 32, 32).amax(1)  # several cycles of 2093 Hz in each
    line = 1 - (torch.arange(len(peaks)) * 32 + 16 - 1.5 * HOP).abs() / HOP
    torch.testing.assert_close(peaks, line.clamp(min=0), atol=0.05, rtol=0)


@pytest.mark.parametrize("chunk", [1, 2, 5])
def test_streams_equal_the_whole(chunk):
    tones, amplitudes = Tones(RATE, 64, 12), torch.rand(2, 12, 11)
    whole, state, parts = tones(amplitudes), None, []
    for piece in amplitudes.split(chunk, dim=-1):
        part, state = tones.stream(piece, state)
        parts.append(part)
    parts.append(tones.stream(amplitudes[..., :0], state, last=True)[0])
    torch.testing.assert_close(torch.cat(parts, dim=-1), whole, atol=1e-5, rtol=0)


def test_half_precision_stays_in_tune():
    amplitudes = torch.zeros(1, N_TONES, 64)
    amplitudes[:, A4] = 0.5
    exact, half = Tones(RATE, HOP, N_TONES)(amplitudes), Tones(RATE, HOP, N_TONES).bfloat16()(amplitudes.bfloat16())
    torch.testing.assert_close(half, exact, atol=1e-6, rtol=0)
