"""Where sentences are cut to be heard early, and how their parts are joined."""

import numpy as np
import pytest

from nexus.media.audio import Audio
from nexus.models.audio.early import FIRST, GROWTH, ends_of_parts, joined

RATE = 100.0  # frames a second
SPACE = 0


def sentence(*words):
    """Symbols of words that last so many frames, a frame of silence between."""
    symbols = []
    for i, word in enumerate(words, 1):
        symbols += [i] * word + [SPACE]
    return symbols[:-1]


def test_parts_end_where_words_begin_and_grow():
    symbols = sentence(*[25] * 24)  # six seconds
    ends = ends_of_parts(symbols, {SPACE}, RATE)
    assert ends[-1] == len(symbols) and len(ends) == 3
    assert all(symbols[end - 1] == SPACE != symbols[end] for end in ends[:-1])
    starts = [0, *ends[:-1]]
    assert abs(ends[0] / RATE - FIRST) < 0.2
    for start, end in zip(starts[1:], ends[1:], strict=True):
        assert end - start <= GROWTH * start + 1


def test_short_sentences_and_long_words_stay_whole():
    assert ends_of_parts(sentence(30, 30, 30), {SPACE}, RATE) == [92]
    assert ends_of_parts(sentence(500, 10), {SPACE}, RATE) == [511]
    assert ends_of_parts([], {SPACE}, RATE) == [0]


def test_after_something_was_heard_a_sentence_may_be_longer():
    symbols = sentence(*[25] * 12)
    assert ends_of_parts(symbols, {SPACE}, RATE)[0] == 52
    assert ends_of_parts(symbols, {SPACE}, RATE, heard=0.8)[0] > 200
    assert ends_of_parts(symbols, {SPACE}, RATE, heard=5.0) == [len(symbols)]


def test_a_join_is_smooth_in_sound_and_loudness():
    rate = 8000
    before, after = (Audio(np.full(2 * rate, level, np.float32), rate) for level in (0.1, 0.3))
    sound = joined(before, after, rate, 2 * rate - 100, (1.0, 0.5))
    assert sound.length == rate - 100
    assert sound.samples[0, 0] == pytest.approx(0.1) and sound.samples[0, -1] == pytest.approx(0.15)
    assert np.abs(np.diff(sound.samples[0])).max() < 0.005
