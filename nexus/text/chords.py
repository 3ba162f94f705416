"""Chords by name, "Am F C G", and progressions that make a key heard where only the key is told."""

import re
from dataclasses import dataclass

_KINDS = {
    "": (0, 4, 7), "maj": (0, 4, 7), "m": (0, 3, 7), "min": (0, 3, 7), "dim": (0, 3, 6), "aug": (0, 4, 8),
    "sus2": (0, 2, 7), "sus4": (0, 5, 7), "5": (0, 7), "6": (0, 4, 7, 9), "m6": (0, 3, 7, 9), "7": (0, 4, 7, 10),
    "maj7": (0, 4, 7, 11), "m7": (0, 3, 7, 10), "dim7": (0, 3, 6, 9), "m7b5": (0, 3, 6, 10), "9": (0, 4, 7, 10, 2),
    "maj9": (0, 4, 7, 11, 2), "m9": (0, 3, 7, 10, 2), "add9": (0, 4, 7, 2),
}  # fmt: skip
_CHORD = re.compile(r"([A-G])([#b\u266f\u266d]?)([a-z0-9]*)")  # or the signs themselves
_SEPARATORS = re.compile(r"[\s,|\u2013-]+")
_LETTERS = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}
MOST = 64

SCALES = ((0, 2, 4, 5, 7, 9, 11), (0, 2, 3, 5, 7, 8, 10))
CADENCES = ((1, 4, 5, 1), (1, 2, 5, 1), (1, 6, 5, 1))  # degrees; all begin and end at home


@dataclass(frozen=True)
class Chord:
    root: int  # pitch class, C is 0
    intervals: tuple[int, ...]  # semitones above the root, which is the first

    @property
    def pitch_classes(self) -> tuple[int, ...]:
        return tuple((self.root + interval) % 12 for interval in self.intervals)


def parse_chords(text: str) -> tuple[Chord, ...]:
    """ "Am F C/G G7", between spaces, commas, bars or dashes; the bass after a slash is left to the music.

    Raises:
        ValueError: none, too many, or a name that there is not.
    """
    names = [name for name in _SEPARATORS.split(text.strip()) if name]
    if not 1 <= len(names) <= MOST:
        raise ValueError(f"chords must be 1 to {MOST} names such as 'Am F C G', got {len(names)}")
    return tuple(_chord(name) for name in names)


def _chord(name: str) -> Chord:
    above = name.partition("/")[0]
    found = _CHORD.fullmatch(above)
    if found is None or found[3] not in _KINDS:
        kinds = ", ".join(f"C{kind}" for kind in _KINDS)
        raise ValueError(f"unknown chord {name!r}; a chord is a note and a kind: {kinds}")
    shift = 0 if not found[2] else 1 if found[2] in "#\u266f" else -1
    return Chord((_LETTERS[found[1]] + shift) % 12, _KINDS[found[3]])


def cadence(key: int, which: int) -> tuple[Chord, ...]:
    """Triads of the key (0 is C major, 12 C minor) that lead away and home; the fifth of a minor key is major."""
    minor, tonic = divmod(key, 12)
    scale = SCALES[minor]
    chords = []
    for degree in CADENCES[which % len(CADENCES)]:
        root, third, fifth = (scale[(degree - 1 + step) % 7] for step in (0, 2, 4))
        if minor and degree == 5:
            third = 11  # the leading tone
        chords.append(Chord((tonic + root) % 12, (0, (third - root) % 12, (fifth - root) % 12)))
    return tuple(chords)
