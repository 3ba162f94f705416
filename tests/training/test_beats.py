import math

import pytest
import torch

from nexus.training.beats import PHASES, SLOWEST, STEP, TEMPI, BeatHeads

RATE = 50.0  # frames a second


def beats_at(bpm, n_frames=100, first=0):
    return (first + torch.arange(n_frames))[None] * bpm / 60 / RATE


def told(heads, phase, tempo):
    """Makes the heads say one phase and one tempo, whatever the states."""
    with torch.no_grad():
        for head, answer in ((heads.phase, phase), (heads.tempo, tempo)):
            head.weight.zero_()
            head.bias.zero_()
            head.bias[answer] = 100.0


def test_untrained_heads_that_say_nothing_cost_the_logarithm_of_the_classes():
    heads = BeatHeads(4, 60 * RATE)
    with torch.no_grad():
        for head in (heads.phase, heads.tempo):
            head.weight.zero_()
            head.bias.zero_()
    losses = heads.loss(torch.randn(1, 100, 4), beats_at(120))
    assert losses["beat_phase"].item() == pytest.approx(math.log(PHASES), rel=1e-5)
    assert losses["beat_tempo"].item() == pytest.approx(math.log(TEMPI), rel=1e-5)


@pytest.mark.parametrize("bpm", [60, 97, 150])
def test_the_tempo_class_is_within_half_a_step_wherever_the_crop_begins(bpm):
    heads = BeatHeads(4, 60 * RATE)
    told(heads, 0, round(math.log(bpm / SLOWEST) / STEP))
    for first in (0, 333):
        assert heads.loss(torch.randn(1, 100, 4), beats_at(bpm, first=first))["beat_tempo"].item() < 1e-4


def test_the_phase_goes_through_its_classes_once_a_beat():
    heads, states = BeatHeads(4, 60 * RATE), torch.randn(1, 32, 4)
    beats = torch.arange(32)[None] / PHASES  # a class a frame, two beats
    told(heads, 3, 0)
    wrong = heads.loss(states, beats)["beat_phase"].item()
    assert wrong == pytest.approx(100 * (PHASES - 1) / PHASES, rel=1e-4)  # right in 2 of 32 frames
    standing = heads.loss(states, 5 + 3.5 / PHASES + 1e-4 * torch.arange(32)[None])["beat_phase"].item()
    assert standing < 1e-4
