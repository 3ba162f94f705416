"""Judges of music by its notes and beats, on music whose notes are known."""

import math

import numpy as np
import pytest

from nexus.data.music.theory import Key
from nexus.media import Audio
from nexus.metrics.beats import alignment, beat_alignment
from nexus.metrics.judge import MissingJudge
from nexus.metrics.notes import (
    Note,
    harmonic_consistency,
    melodic_consistency,
    notes_of,
    rhythmic_consistency,
    share_in_key,
)

RATE = 22_050


def notes(*rows):
    return [Note(float(start), float(end), pitch) for start, end, pitch in rows]


def test_share_in_key():
    found = notes((0, 1, 60), (1, 2, 62), (2, 4, 61))
    assert share_in_key(found, Key(0, "major")) == pytest.approx(0.5) and math.isnan(share_in_key([], Key(0, "major")))


def test_melodic_consistency_follows_the_upper_voice():
    upper = ((0, 1, 60), (0.01, 1, 72), (1, 2, 79), (2, 3, 60))
    assert melodic_consistency(notes(*upper)) == 0.5
    assert melodic_consistency(notes(*upper[:2], (0.5, 0.8, 40), *upper[2:])) == 0.5  # under a note that sounds
    assert math.isnan(melodic_consistency(notes((0, 1, 60))))


def test_harmonic_consistency_weighs_by_time():
    third, second = notes((0, 3, 60), (0, 3, 64)), notes((4, 5, 60), (4, 5, 61))
    assert harmonic_consistency(third) == 1 and harmonic_consistency(second) == 0
    assert harmonic_consistency(third + second) == 0.75 and math.isnan(harmonic_consistency(third[:1]))
    assert harmonic_consistency(notes((0, 1, 60), (0, 1, 76))) == 1  # a tenth is a third


def test_rhythmic_consistency_is_the_length_of_the_mean_phase():
    grid = notes(*((0.03 + i * 0.125, 5, 60) for i in range(16)))  # quarters of a beat at 120
    assert rhythmic_consistency(grid, 120) == pytest.approx(1) and rhythmic_consistency(grid, 100) < 0.3
    halfway = notes((0, 1, 60), (0.0625, 1, 60))
    assert rhythmic_consistency(halfway, 120) == pytest.approx(0) and math.isnan(rhythmic_consistency([], 120))


def plucked(pitches, seconds=0.5):
    time = np.arange(round(seconds * RATE)) / RATE
    envelope = np.exp(-5 * time) * np.minimum(1, time / 0.005)
    tones = []
    for pitch in pitches:
        hertz = 440 * 2 ** ((pitch - 69) / 12)
        tones.append(envelope * sum(np.sin(2 * np.pi * k * hertz * time) / k**2 for k in (1, 2, 3)))
    return Audio(0.3 * np.concatenate(tones).astype(np.float32), RATE)


def test_notes_are_heard():
    try:
        found = notes_of(plucked([60, 64, 67, 72]))
    except MissingJudge as missing:
        pytest.skip(str(missing))
    strong = [note for note in found if note.pitch in (60, 64, 67, 72)]
    assert [note.pitch for note in strong] == [60, 64, 67, 72] and len(found) <= 6
    np.testing.assert_allclose([note.start for note in strong], [0, 0.5, 1, 1.5], atol=0.05)
    assert notes_of(Audio.silence(RATE, RATE)) == () == notes_of(Audio.silence(0, RATE))


def test_alignment_by_hand():
    beats, onsets = np.array([1.0, 2.0, 3.0]), np.array([1.0, 2.05])
    assert alignment(beats, onsets) == pytest.approx((1 + math.exp(-0.5)) / 3, abs=1e-6)
    with pytest.raises(ValueError, match="no onset"):
        alignment(beats, np.zeros(0))


def test_clicks_are_on_their_beat_and_silence_has_none():
    click = np.zeros(8 * RATE, np.float32)
    for i in range(16):
        click[i * RATE // 2 :][:400] += 0.5 * np.random.default_rng(i).uniform(-1, 1, 400).astype(np.float32)
    try:
        assert beat_alignment(Audio(click, RATE)) > 0.8
    except MissingJudge as missing:
        pytest.skip(str(missing))
    with pytest.raises(ValueError, match="silence has no beat"):
        beat_alignment(Audio.silence(RATE, RATE))
