"""Text is cut without losing a word; voices are made ready by a stated rule."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nexus.media.audio import Audio
from nexus.models.audio.speaking import ENDING, LEVEL, level, prepare_voice, split_text


def tone(seconds: float, rate: int = 8000, amplitude: float = 0.1) -> Audio:
    return Audio(amplitude * np.sin(np.arange(round(seconds * rate)) * 0.4).astype(np.float32), rate)


@given(
    st.lists(st.text("abc ,.!?'", min_size=1, max_size=60).filter(lambda s: any(c.isalpha() for c in s)), min_size=1)
)
@settings(max_examples=60, deadline=None)
def test_no_letter_is_lost_and_no_piece_is_too_long(sentences):
    text = " ".join(sentences)
    pieces = split_text(text, 40)
    assert all(0 < len(piece) <= 40 for piece in pieces)
    letters = [c for piece in pieces for c in piece if c.isalnum()]
    assert letters == [c for c in text if c.isalnum()]


def test_sentences_then_commas_then_words():
    assert split_text("First sentence here. Second sentence there!", 60) == [
        "First sentence here.",
        "Second sentence there!",
    ]
    assert split_text("a clause of words, and another clause", 30) == ["a clause of words,", "and another clause"]
    assert split_text("words without any stop at all", 12) == ["words", "without any", "stop at all"]
    assert split_text("Yes. That is what I said.", 60) == ["Yes. That is what I said."]


def test_voice_is_trimmed_to_its_sound():
    voice = prepare_voice(Audio.concatenate([Audio.silence(8000, 8000), tone(2), Audio.silence(16000, 8000)]), 8000, 6)
    assert 2.0 <= voice.seconds <= 2.3
    assert abs(np.sqrt(np.mean(voice.samples[0, 800:-800] ** 2)) - LEVEL) < 0.1 * LEVEL


def test_long_voice_is_cut_where_it_is_quiet():
    pause = tone(0.1, amplitude=0.001)
    long = Audio.concatenate([tone(4.8), pause, tone(600)])
    voice = prepare_voice(long, 8000, 6)
    assert 4.75 <= voice.seconds - ENDING <= 4.95


def test_a_voice_cut_within_a_word_fades_into_a_pause():
    voice = prepare_voice(tone(2), 8000, 6)
    levels = np.abs(voice.samples[0]).reshape(-1, 80).max(axis=1)  # of 10 ms each
    assert (levels[-8:] == 0).all() and (np.diff(levels[-12:-8]) < 0).all() and levels[-12] > 0.7 * levels[10]


@pytest.mark.parametrize(("sound", "message"), [(tone(0.2), "0.20 s"), (Audio.silence(16000, 8000), "silent")])
def test_useless_voices_are_refused(sound, message):
    with pytest.raises(ValueError, match=message):
        prepare_voice(sound, 8000, 6)


def test_a_click_in_silence_is_no_voice():
    click = Audio.concatenate([Audio.silence(8000, 8000), tone(0.1), Audio.silence(8000, 8000)])
    with pytest.raises(ValueError, match="not silence"):
        prepare_voice(click, 8000, 6)


def test_level_is_steady_and_peaks_are_kept():
    for amplitude in (0.001, 0.05, 0.9):
        loud = level(Audio.concatenate([tone(1, amplitude=amplitude), Audio.silence(4000, 8000)]))
        assert abs(np.sqrt(np.mean(loud.samples[0, :8000] ** 2)) - LEVEL) < 0.01 * LEVEL
    samples = np.zeros((1, 8000), np.float32)
    samples[0, ::800] = 0.01
    assert level(Audio(samples, 8000)).peak <= 10 ** (-1 / 20) + 1e-6
    assert level(Audio.silence(100, 8000)) == Audio.silence(100, 8000)
