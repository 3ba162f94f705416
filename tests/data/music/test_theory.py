import pytest

from nexus.data.music.theory import Key, chord, nearest, voicing


def test_keys_are_parsed_and_named():
    for name in ("C major", "Bb minor", "F# major", "G# minor"):
        assert Key.parse(name).name == name
    assert Key.parse("A# minor") == Key.parse("Bb minor")
    assert Key.parse("A minor").scale == (9, 11, 0, 2, 4, 5, 7)
    with pytest.raises(ValueError, match='such as "C major"'):
        Key.parse("H minor")
    with pytest.raises(ValueError, match="dorian"):
        Key.parse("D dorian")


def test_chords_are_stacked_thirds_and_the_minor_dominant_is_major():
    assert chord(Key.parse("C major"), 2, "seventh", 0, 1).pitch_classes == (2, 5, 9, 0)
    assert chord(Key.parse("A minor"), 5, "triad", 0, 1).pitch_classes == (4, 8, 11)
    assert chord(Key.parse("D major"), 4, "power", 0, 1).pitch_classes == (7, 2)
    assert chord(Key.parse("C major"), 5, "triad", 0, 1).fifth == 2


def test_voices_move_little_and_keep_to_the_chord():
    key = Key.parse("C major")
    tonic = voicing(chord(key, 1, "triad", 0, 1), (), 60)
    subdominant = voicing(chord(key, 4, "triad", 0, 1), tonic, 60)
    assert {p % 12 for p in subdominant} == {5, 9, 0}
    assert max(min(abs(p - q) for q in tonic) for p in subdominant) <= 2
    assert nearest(61, (0, 4)) == 60 and nearest(62.0, (0, 4)) == 60
