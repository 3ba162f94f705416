import pytest

from nexus.text.chords import CADENCES, Chord, cadence, parse_chords


@pytest.mark.parametrize(
    ("name", "root", "pitch_classes"),
    [
        ("C", 0, {0, 4, 7}),
        ("Am", 9, {9, 0, 4}),
        ("F#m7", 6, {6, 9, 1, 4}),
        ("Bb", 10, {10, 2, 5}),
        ("Cb", 11, {11, 3, 6}),
        ("Ebmaj7", 3, {3, 7, 10, 2}),
        ("G7", 7, {7, 11, 2, 5}),
        ("Bdim", 11, {11, 2, 5}),
        ("Caug", 0, {0, 4, 8}),
        ("Dsus4", 2, {2, 7, 9}),
        ("E5", 4, {4, 11}),
        ("C/G", 0, {0, 4, 7}),
        ("Bm7b5", 11, {11, 2, 5, 9}),
    ],
)
def test_names(name, root, pitch_classes):
    (chord,) = parse_chords(name)
    assert chord.root == root == chord.pitch_classes[0] and set(chord.pitch_classes) == pitch_classes


def test_lists_as_people_write_them():
    expected = parse_chords("Am F C G")
    for text in ("Am, F, C, G", "| Am | F | C | G |", "Am-F-C-G", "  Am F  C G\n"):
        assert parse_chords(text) == expected
    assert [chord.root for chord in expected] == [9, 5, 0, 7]


@pytest.mark.parametrize("wrong", ["", " | ", "H", "am", "Cmin7sharp", "C" + " C" * 64])
def test_what_is_no_chord_is_refused(wrong):
    with pytest.raises(ValueError, match="chord"):
        parse_chords(wrong)


def test_cadences_stay_in_the_key_and_come_home():
    assert cadence(0, 0) == parse_chords("C F G C") and cadence(21, 0) == parse_chords("Am Dm E Am")
    assert cadence(2, 1) == parse_chords("D Em A D")
    scales = ({0, 2, 4, 5, 7, 9, 11}, {0, 2, 3, 5, 7, 8, 10, 11})  # minor with its leading tone
    for key in range(24):
        for which in range(len(CADENCES)):
            chords = cadence(key, which)
            sounding = {(pitch - key) % 12 for chord in chords for pitch in chord.pitch_classes}
            assert sounding <= scales[key // 12]
            home = Chord(key % 12, (0, 3, 7) if key >= 12 else (0, 4, 7))
            assert chords[0] == chords[-1] == home
    assert cadence(5, 3) == cadence(5, 0)
