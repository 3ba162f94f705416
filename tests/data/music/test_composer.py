import numpy as np
import pytest

from nexus.data.music import compose, midi
from nexus.data.music.composer import SECTION_BARS
from nexus.data.music.piece import STEP, TICKS
from nexus.data.music.styles import STYLES


@pytest.mark.parametrize("style", STYLES, ids=lambda style: style.name)
def test_every_style_is_in_key_on_the_grid_and_full(style):
    for seed in range(2):
        piece = compose(seed, style=style.name, seconds=20)
        assert piece.tempo in range(style.tempo[0], style.tempo[1] + 1) and piece.seconds >= 20
        end = piece.bars * piece.meter * TICKS
        for track in piece.tracks:
            assert track.notes, track.role
            assert all(0 <= n.start < n.start + n.length <= end + TICKS for n in track.notes)
            assert all(1 <= n.velocity <= 127 for n in track.notes)
            if track.role != "drums":
                assert all(n.pitch % 12 in piece.key.pitch_classes and 24 <= n.pitch <= 108 for n in track.notes)
            off = [n.start % STEP for n in track.notes if n.start % TICKS == 0 or style.swing == 0.5]
            assert all(rest <= 36 for rest in off)  # strings of a strum follow one another
        assert piece.chords[0].start == 0 and any(n.start == 0 for track in piece.tracks for n in track.notes)


def test_the_melody_stands_on_chord_tones_and_comes_back():
    on_beat = []
    for seed in range(6):
        piece = compose(seed, seconds=40, style="calm piano")
        on_beat += [
            n.pitch % 12 in next(c for c in piece.chords if c.start <= n.start < c.start + c.length).pitch_classes
            for n in piece.melody
            if n.start % TICKS == 0
        ]
        section = SECTION_BARS * piece.meter * TICKS
        first = [(n.start, n.pitch) for n in piece.melody if n.start < section]
        again = [(n.start - section, n.pitch) for n in piece.melody if section <= n.start < 2 * section]
        assert piece.sections[:2] == (("A", 8), ("A", 8)) and first == again
    assert np.mean(on_beat) > 0.95


def test_a_seed_is_a_piece_and_splits_share_none():
    assert compose(3) == compose(3)
    train = [compose(seed, seconds=2) for seed in range(70)]
    valid = {compose(seed, "valid", seconds=2).melody for seed in range(10)}
    assert len({piece.melody for piece in train}) == 70 and not {piece.melody for piece in train} & valid
    assert len({piece.style for piece in train}) > 13 and len({piece.key for piece in train}) > 19


def test_what_is_asked_for_is_composed():
    piece = compose(5, style="waltz", tempo=123, key="Eb minor", seconds=7)
    assert (piece.style, piece.tempo, piece.key.name, piece.meter) == ("waltz", 123, "Eb minor", 3)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [({"style": "polka"}, "calm piano"), ({"tempo": 900}, "40 to 220"), ({"key": "X"}, "unknown key"),
     ({"seconds": 0}, "above 0"), ({"seed": -1}, "negative")],
)  # fmt: skip
def test_wrong_wishes_are_refused(wrong, said):
    with pytest.raises(ValueError, match=said):
        compose(**{"seed": 0, **wrong})


def test_the_midi_file_has_the_same_notes_and_tempo(tmp_path):
    mido = pytest.importorskip("mido")
    piece = compose(8, seconds=10)
    midi(piece).save(tmp_path / "piece.mid")
    file = mido.MidiFile(tmp_path / "piece.mid")
    assert file.ticks_per_beat == TICKS
    tempo = next(m for m in file.tracks[0] if m.type == "set_tempo").tempo
    assert round(mido.tempo2bpm(tempo)) == piece.tempo
    for track, lines in zip(piece.tracks, file.tracks[1:], strict=True):
        now, starts = 0, []
        for message in lines:
            now += message.time
            if message.type == "note_on" and message.velocity:
                starts.append((now, message.note))
        assert sorted(starts) == sorted((n.start, n.pitch) for n in track.notes)
