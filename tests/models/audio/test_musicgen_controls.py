import math

import pytest
import torch

from nexus.models.audio.musicgen_controls import HARMONICS, N_FEATURES, Controls, features, features_of, pitches_of
from nexus.text.music_prompts import Score

BEAT, BAR = slice(0, 2 + 2 * HARMONICS), slice(2 + 2 * HARMONICS, 3 + 4 * HARMONICS)
KEY, HEARD, PITCHES = slice(BAR.stop, BAR.stop + 24), BAR.stop + 24, slice(BAR.stop + 25, None)


def test_what_is_unknown_is_zero():
    told = features_of([Score()], 5, 9, 50.0)
    assert told.shape == (1, 9, N_FEATURES) and not told.any()
    tempo = features_of([Score(bpm=100)], 0, 9, 50.0)[0]
    assert tempo[:, BEAT].any() and not tempo[:, BAR.start :].any()
    assert not features_of([Score(beats_per_bar=3)], 0, 9, 50.0).any()  # bars of no known length in time


def test_beats_and_bars_turn_with_the_tempo():
    # 120 bpm at 8 frames a second: a beat is 4 frames, a bar of three 12.
    told = features_of([Score(bpm=120, beats_per_bar=3)], 0, 25, 8.0)[0]
    angle = 2 * math.pi * torch.arange(25) / 4
    for harmonic in range(1, HARMONICS + 1):
        torch.testing.assert_close(told[:, 1 + harmonic], (harmonic * angle).cos(), atol=1e-4, rtol=0)
        sine = told[:, 1 + HARMONICS + harmonic]
        torch.testing.assert_close(sine, (harmonic * angle).sin(), atol=1e-4, rtol=0)
        bar = told[:, BAR.start + harmonic]
        torch.testing.assert_close(bar, (harmonic * angle / 3).cos(), atol=1e-4, rtol=0)
    twice = features_of([Score(bpm=240)], 0, 2, 8.0)[0]
    assert twice[0, 1] - told[0, 1] == pytest.approx(1)  # an octave of tempo
    later = features_of([Score(bpm=120, beats_per_bar=3)], 7, 18, 8.0)[0]
    torch.testing.assert_close(later, told[7:], atol=1e-4, rtol=0)


def test_keys_and_pitches_are_told_item_by_item():
    pitches = torch.rand(2, 12, 5)
    pitches[1] = 0
    told = features_of([Score(key=3), Score(key=20)], 1, 12, 50.0, pitches, frames_per_pitch=2.0)
    assert (told[0, :, KEY].argmax(1) == 3).all() and (told[1, :, KEY].argmax(1) == 20).all()
    assert (told[..., KEY].sum(-1) == 1).all()
    assert told[0, :, HEARD].eq(1).all() and told[1, :, HEARD].eq(0).all()
    places = torch.arange(1, 13) // 2 % 5  # from the beginning again where they end
    torch.testing.assert_close(told[0, :, PITCHES], pitches[0, :, places].mT)


def test_a_batch_of_known_and_unknown_is_told_each_as_alone():
    rate, meter, key = torch.tensor([0.1, 0.0]), torch.tensor([3, 4]), torch.tensor([-1, 5])
    beats = torch.rand(2, 6)
    both = features(beats, rate, meter, key)
    assert not both[1, :, : BAR.stop].any() and not both[0, :, KEY].any()
    for i in range(2):
        one = features(beats[i : i + 1], rate[i : i + 1], meter[i : i + 1], key[i : i + 1])
        assert torch.equal(one[0], both[i])


def test_the_pitch_that_sounds_is_followed():
    t = torch.arange(24000) / 24000
    heard = pitches_of(torch.sin(2 * math.pi * 440 * t)[None], 24000)
    assert heard.shape == (1, 12, 12) and (heard.argmax(1) == 9).all()
    torch.testing.assert_close(heard.amax(1), torch.ones(1, 12))
    assert not pitches_of(torch.zeros(1, 24000), 24000).any()


def test_controls_add_nothing_before_they_learn():
    controls = Controls(16)
    told = torch.randn(2, 5, N_FEATURES)
    assert not controls(told).any()
    controls(told).sum().backward()
    assert controls.down.weight.grad.abs().sum() > 0
