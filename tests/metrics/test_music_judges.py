import sys

import numpy as np
import pytest

from nexus.data.music.theory import Key
from nexus.media import Audio
from nexus.metrics.judge import MissingJudge
from nexus.metrics.key import chroma_similarity, key_of, mirex_score, pitch_classes, share_in_scale
from nexus.metrics.neighbours import Neighbours, describe
from nexus.metrics.tempo import tempo_of, tempo_right

RATE = 24_000


def chord(*pitches, seconds=1.5):
    """MIDI pitches as sines."""
    time = np.arange(round(seconds * RATE)) / RATE
    wave = sum(np.sin(2 * np.pi * 440 * 2 ** ((pitch - 69) / 12) * time) for pitch in pitches)
    return Audio((0.1 * wave).astype(np.float32), RATE)


def cadence(tonic):
    """I IV V I in major, with the tonic doubled."""
    triads = [(0, 4, 7, 12), (5, 9, 12), (7, 11, 14), (0, 4, 7, 12)]
    return Audio.concatenate([chord(*(60 + tonic + step for step in triad), seconds=0.7) for triad in triads])


@pytest.mark.parametrize("tonic", [0, 6, 10])
def test_the_key_of_a_cadence(tonic):
    pytest.importorskip("essentia")
    assert key_of(cadence(tonic)) == Key(tonic, "major")


def test_shares_of_the_pitch_classes():
    shares = pitch_classes(cadence(6))
    assert shares.sum() == pytest.approx(1)
    assert share_in_scale(shares, Key(6, "major")) > 0.65 > 0.55 > share_in_scale(shares, Key(0, "major"))


def test_silence_has_no_key_and_no_tempo():
    assert share_in_scale(pitch_classes(Audio.silence(RATE, RATE)), Key(3, "minor")) == pytest.approx(7 / 12)
    assert mirex_score(None, Key(0, "major")) == 0
    pytest.importorskip("essentia")
    for nothing in (Audio.silence(RATE, RATE), Audio.silence(0, RATE)):
        assert key_of(nothing) is None and tempo_of(nothing) == 0


def test_where_essentia_is_missing_the_judges_say_so(monkeypatch):
    monkeypatch.setitem(sys.modules, "essentia", None)
    for judge in (key_of, tempo_of):
        with pytest.raises(MissingJudge, match=r"wants the package essentia.*nexus-media\[eval\]"):
            judge(cadence(0))


@pytest.mark.parametrize(
    ("heard", "asked", "score"),
    [
        ("C major", "C major", 1),
        ("G major", "C major", 0.5),
        ("F major", "C major", 0.5),
        ("A minor", "C major", 0.3),
        ("C major", "A minor", 0.3),
        ("C minor", "C major", 0.2),
        ("D major", "C major", 0),
        ("E minor", "C major", 0),
    ],
)
def test_mirex_score(heard, asked, score):
    assert mirex_score(Key.parse(heard), Key.parse(asked)) == score


def test_chroma_similarity():
    low, high, other = chord(60, 64), chord(72, 76), chord(61, 66)
    assert chroma_similarity(low, low) == pytest.approx(1, abs=1e-5)
    assert chroma_similarity(high, low) > 0.9 > 0.5 > chroma_similarity(other, low)
    with pytest.raises(ValueError, match="empty"):
        chroma_similarity(low, Audio.silence(0, RATE))


@pytest.mark.parametrize("bpm", [75, 120, 168])
def test_the_tempo_of_clicks(bpm):
    pytest.importorskip("essentia")
    clicks = np.zeros(8 * RATE, np.float32)
    for beat in range(8 * bpm // 60):
        start = round(beat * 60 * RATE / bpm)
        clicks[start : start + 400] = np.random.default_rng(beat).uniform(-0.5, 0.5, 400)
    assert tempo_right(tempo_of(Audio(clicks, RATE)), bpm)
    stereo = Audio(np.stack([clicks, clicks]), RATE)
    assert tempo_right(tempo_of(stereo), bpm)


def test_a_tempo_is_right_within_four_per_cent():
    assert tempo_right(124, 120) and tempo_right(240, 120, (1, 2)) and not tempo_right(126, 120)
    assert not tempo_right(0, 120) and not tempo_right(240, 120)
    with pytest.raises(ValueError, match="positive"):
        tempo_right(120, 0)


def test_nearest_neighbours():
    low, high = ([chord(pitch + k, seconds=0.5) for k in range(3)] for pitch in (48, 84))
    judge = Neighbours([*low, *high], ["low"] * 3 + ["high"] * 3)
    assert judge.classify(chord(49.5, seconds=0.5)) == "low" and judge.classify(chord(85.5, seconds=0.5)) == "high"
    assert judge.digest == Neighbours([*low, *high], ["low"] * 3 + ["high"] * 3).digest
    assert judge.digest != Neighbours([*high, *low], ["low"] * 3 + ["high"] * 3).digest
    assert describe(Audio.silence(10, 8000)).shape == describe(low[0]).shape
    with pytest.raises(ValueError, match="at least 3 examples"):
        Neighbours(low, ["low"])


def test_what_cannot_be_heard_is_not_judged():
    """Silence between strokes, and the same with the rounding noise of 16 bits."""
    rng = np.random.default_rng(0)
    strokes = np.zeros(48_000, dtype=np.float32)
    for start in range(0, 48_000, 12_000):
        strokes[start : start + 3000] = 0.3 * rng.standard_normal(3000)
    rounded = strokes + ((rng.random(48_000) - 0.5) / 32768).astype(np.float32)
    apart = np.abs(describe(Audio(strokes[None], 24_000)) - describe(Audio(rounded[None], 24_000)))
    louder = np.abs(describe(Audio(strokes[None], 24_000)) - describe(Audio(2 * strokes[None], 24_000)))
    assert apart.max() < 0.6 and apart.mean() < 0.1 < louder.mean()
    hiss = strokes + 1e-3 * rng.standard_normal(48_000).astype(np.float32)
    assert np.abs(describe(Audio(strokes[None], 24_000)) - describe(Audio(hiss[None], 24_000))).max() > 1
