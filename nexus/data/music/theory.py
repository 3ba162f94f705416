"""Keys, scales, chords and progressions of common-practice harmony. Pitch classes are integers 0 (C) to 11 (B)."""

from dataclasses import dataclass
from typing import Literal

Mode = Literal["major", "minor"]
Harmony = Literal["triad", "seventh", "power", "ninth"]

MAJOR_NAMES = ("C", "Db", "D", "Eb", "E", "F", "F#", "G", "Ab", "A", "Bb", "B")
MINOR_NAMES = ("C", "C#", "D", "Eb", "E", "F", "F#", "G", "G#", "A", "Bb", "B")
PITCH_CLASSES = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}
SCALES = {"major": (0, 2, 4, 5, 7, 9, 11), "minor": (0, 2, 3, 5, 7, 8, 10)}
STACKS = {"triad": (0, 2, 4), "seventh": (0, 2, 4, 6), "power": (0, 4), "ninth": (0, 2, 4, 8)}  # in scale steps

# Four-chord phrases as scale degrees; OPEN ones lead on (half cadence), CLOSED ones come home.
OPEN = {
    "major": ((1, 6, 4, 5), (1, 5, 6, 4), (1, 4, 6, 5), (1, 3, 4, 5), (1, 4, 2, 5), (1, 6, 2, 5)),
    "minor": ((1, 6, 3, 7), (1, 4, 6, 5), (1, 7, 6, 5), (1, 6, 4, 5), (1, 4, 7, 5), (1, 3, 6, 5)),
}
CLOSED = {
    "major": ((1, 4, 5, 1), (6, 4, 5, 1), (1, 6, 5, 1), (4, 2, 5, 1), (6, 2, 5, 1), (4, 1, 5, 1)),
    "minor": ((1, 4, 5, 1), (6, 4, 5, 1), (1, 6, 5, 1), (6, 7, 5, 1), (4, 6, 5, 1), (3, 4, 5, 1)),
}


@dataclass(frozen=True)
class Key:
    tonic: int  # pitch class
    mode: Mode

    @property
    def name(self) -> str:
        return f"{(MAJOR_NAMES if self.mode == 'major' else MINOR_NAMES)[self.tonic]} {self.mode}"

    @property
    def scale(self) -> tuple[int, ...]:
        """Pitch classes of the seven degrees; minor is natural minor."""
        return tuple((self.tonic + step) % 12 for step in SCALES[self.mode])

    @property
    def pitch_classes(self) -> frozenset[int]:
        """The scale and, in minor, the raised seventh that the dominant uses."""
        return frozenset(self.scale) | {(self.tonic + 11) % 12}

    @classmethod
    def parse(cls, name: str) -> "Key":
        """`"Bb minor"`, `"F# major"`, `"c major"`.

        Raises:
            ValueError: not a note name and a mode.
        """
        note, _, mode = name.strip().partition(" ")
        letter, accidental = note[:1].upper(), note[1:]
        if letter not in PITCH_CLASSES or accidental not in ("", "#", "b") or mode not in SCALES:
            raise ValueError(f'unknown key {name!r}; a key is a note and a mode, such as "C major" or "F# minor"')
        shift = {"": 0, "#": 1, "b": -1}[accidental]
        return cls((PITCH_CLASSES[letter] + shift) % 12, "major" if mode == "major" else "minor")


ALL_KEYS = tuple(Key(tonic, mode) for mode in ("major", "minor") for tonic in range(12))


@dataclass(frozen=True)
class Chord:
    """A chord from `start` for `length` ticks; `scale` is the key's scale as altered over this chord."""

    degree: int  # 1 to 7
    pitch_classes: tuple[int, ...]  # root first
    scale: tuple[int, ...]
    start: int
    length: int

    @property
    def root(self) -> int:
        return self.pitch_classes[0]

    @property
    def fifth(self) -> int:
        return self.scale[(self.degree + 3) % 7]


def chord(key: Key, degree: int, harmony: Harmony, start: int, length: int) -> Chord:
    """Stacked thirds on a degree; the dominant of a minor key takes the leading tone."""
    scale = list(key.scale)
    if key.mode == "minor" and degree == 5:
        scale[6] = (key.tonic + 11) % 12
    pitch_classes = tuple(scale[(degree - 1 + step) % 7] for step in STACKS[harmony])
    return Chord(degree, pitch_classes, tuple(scale), start, length)


def nearest(pitch: float | int, pitch_classes: tuple[int, ...]) -> int:
    """The MIDI pitch closest to `pitch` that is one of `pitch_classes`; the lower of two equally close."""
    candidates = (int(pitch) + offset for offset in range(-7, 8))
    return min((p for p in candidates if p % 12 in pitch_classes), key=lambda p: (abs(p - pitch), p))


def voicing(chord: Chord, previous: tuple[int, ...], centre: int) -> tuple[int, ...]:
    """The inversion around `centre` that moves least from `previous` (empty: from the centre)."""
    anchors = previous or (centre,)
    best: tuple[float, tuple[int, ...]] | None = None
    for bottom in range(centre - 9, centre + 4):
        if bottom % 12 not in chord.pitch_classes:
            continue
        notes = [bottom]
        for pitch_class in sorted(chord.pitch_classes, key=lambda pc: (pc - bottom) % 12)[1:]:
            notes.append(bottom + (pitch_class - bottom) % 12)
        movement = sum(min(abs(note - anchor) for anchor in anchors) for note in notes)
        cost = movement + 0.3 * abs(sum(notes) / len(notes) - centre)
        if best is None or cost < best[0]:
            best = (cost, tuple(notes))
    assert best is not None
    return best[1]
