import pytest

from nexus.data.music import caption, compose
from nexus.text.music_prompts import Score, key_in, meter_in, score_of, tempo_in


@pytest.mark.parametrize(
    ("prompt", "bpm"),
    [
        ("calm piano, 70 bpm", 70),
        ("128BPM techno", 128),
        ("92.5 bpm", 92.5),
        ("90 beats per minute", 90),
        ("90 beats a minute", 90),
        ("tempo 100", 100),
        ("Tempo: 100", 100),
        ("tempo of 64", 64),
        ("bpm=140", 140),
        ("120-bpm groove", 120),
        ("fast", None),
        ("808 drums, 24 strings", None),
        ("999 bpm", None),
        ("tempo 5", None),
    ],
)
def test_tempo(prompt, bpm):
    assert tempo_in(prompt) == bpm


@pytest.mark.parametrize(
    ("prompt", "key"),
    [
        ("C major", 0),
        ("slow, A minor, strings", 21),
        ("A minor, slow", 21),
        ("in A minor", 21),
        ("Bb major", 10),
        ("B flat major", 10),
        ("b-flat minor", 22),
        ("F# minor", 18),
        ("f sharp minor", 18),
        ("F-sharp major", 6),
        ("E♭ major", 3),
        ("Cb major", 11),
        ("B# maj", 0),
        ("D min", 14),
        ("G MAJOR", 7),
        ("key of D", 2),
        ("key of Em", 16),
        ("key: F#m", 18),
        ("key of a minor", 21),
        ("a minor change", None),
        ("a major hit in D minor", 14),
        ("A major film score", None),
        ("jazz trio", None),
        ("major", None),
        ("Grab minor chords", None),
    ],
)
def test_key(prompt, key):
    assert key_in(prompt) == key


@pytest.mark.parametrize(
    ("prompt", "beats"),
    [
        ("3/4 time", 3),
        ("4/4", 4),
        ("7/4 odd", 7),
        ("three beats to the bar", 3),
        ("5 beats per bar", 5),
        ("a waltz", 3),
        ("waltzing", 3),
        ("waltz in 4/4", 4),
        ("6/8", None),
        ("march", None),
    ],
)
def test_meter(prompt, beats):
    assert meter_in(prompt) == beats


def test_the_composers_captions_are_read_as_they_were_meant():
    named = {"bpm": 0, "key": 0}
    for seed in range(150):
        piece = compose(seed, seconds=4)
        text = caption(piece, seed)
        score = score_of(text)
        key = piece.key.tonic + 12 * (piece.key.mode == "minor")
        assert score.bpm in (None, piece.tempo) and score.key in (None, key), text
        assert score.beats_per_bar in (None, piece.meter), text
        named["bpm"] += score.bpm is not None
        named["key"] += score.key is not None
    assert named["bpm"] > 120 and named["key"] > 110  # captions name them in 90 and 85 %


def test_what_is_told_goes_before_what_the_prompt_says():
    assert score_of("waltz, 90 bpm, C major", bpm=100, key="a minor", beats_per_bar=4) == Score(
        bpm=100, key=21, beats_per_bar=4
    )
    for wrong, message in (
        ({"bpm": 900}, "bpm must be from 30 to 300, got 900"),
        ({"key": "H major"}, "unknown key 'H major'"),
        ({"beats_per_bar": 13}, "beats_per_bar must be from 2 to 7, got 13"),
    ):
        with pytest.raises(ValueError, match=message):
            score_of("piano", **wrong)
