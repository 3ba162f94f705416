"""What a prompt for music says in numbers and names: tempo, beats a bar, key. The rest is for the text encoder."""

import re
from dataclasses import dataclass

from nexus.text.chords import Chord, parse_chords

TEMPI = (30.0, 300.0)  # beats a minute that may be asked for
METERS = (2, 3, 4, 5, 6, 7)  # beats a bar
N_KEYS = 24
_NUMBER = r"(\d{2,3}(?:\.\d+)?)"
_TEMPO = re.compile(
    rf"\b{_NUMBER}[\s-]*(?:bpm|beats (?:per|a) minute)\b|\b(?:tempo|bpm)\s*(?:of|is|[:=])?\s*{_NUMBER}\b", re.IGNORECASE
)
_METER = re.compile(
    r"\b([2-7])/4\b|\b(two|three|four|five|six|seven|[2-7]) beats (?:to the|per|a) bar\b", re.IGNORECASE
)
_COUNTS = {"two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7}
_SHIFT = r"(#|\u266f|b|\u266d|[\s-]?sharp|[\s-]?flat)?"  # or the signs themselves
_KEY = re.compile(rf"(?<![\w#])([A-Ga-g]){_SHIFT}[\s-]*(major|minor|maj|min)\b", re.IGNORECASE)
_KEY_OF = re.compile(rf"\bkey(?:\s+of|:)\s+([A-Ga-g]){_SHIFT}(m)?(?![\w#\u266f\u266d])")
_PITCHES = {"c": 0, "d": 2, "e": 4, "f": 5, "g": 7, "a": 9, "b": 11}


@dataclass(frozen=True, kw_only=True)
class Score:
    """What is known of a piece beforehand; None is left to the model.

    Raises:
        ValueError: a tempo, meter or key that there is not.
    """

    bpm: float | int | None = None
    beats_per_bar: int | None = None
    key: int | None = None  # pitch class of the tonic, C is 0; 12 more in minor
    chords: tuple[Chord, ...] | None = None  # one a bar

    def __post_init__(self):
        if self.bpm is not None and not TEMPI[0] <= self.bpm <= TEMPI[1]:
            raise ValueError(f"bpm must be from {TEMPI[0]:g} to {TEMPI[1]:g}, got {self.bpm:g}")
        if self.beats_per_bar is not None and self.beats_per_bar not in METERS:
            raise ValueError(f"beats_per_bar must be from {METERS[0]} to {METERS[-1]}, got {self.beats_per_bar}")
        if self.key is not None and not 0 <= self.key < N_KEYS:
            raise ValueError(f"a key is a number from 0 (C major) to {N_KEYS - 1} (B minor), got {self.key}")


def score_of(
    prompt: str,
    bpm: float | int | None = None,
    key: str | None = None,
    beats_per_bar: int | None = None,
    chords: str | None = None,
) -> Score:
    """What the prompt says, unless it is told here.

    Raises:
        ValueError: what is told here and can't be; a tempo in the prompt that can't be is left to the text encoder.
    """
    told = None if key is None else key_in(f"key of {key}")
    if key is not None and told is None:
        raise ValueError(f"unknown key {key!r}; a key is a note and a mode, such as 'C major' or 'F# minor'")
    return Score(
        bpm=tempo_in(prompt) if bpm is None else bpm,
        beats_per_bar=meter_in(prompt) if beats_per_bar is None else beats_per_bar,
        key=key_in(prompt) if told is None else told,
        chords=None if chords is None else parse_chords(chords),
    )


def tempo_in(prompt: str) -> float | None:
    """Beats a minute, as in "90 bpm", "tempo 90" and "90 beats per minute"."""
    found = _TEMPO.search(prompt)
    bpm = None if found is None else float(found[1] or found[2])
    return bpm if bpm is not None and TEMPI[0] <= bpm <= TEMPI[1] else None


def meter_in(prompt: str) -> int | None:
    """Beats a bar, as in "3/4", "three beats to the bar", and of a waltz."""
    found = _METER.search(prompt)
    if found is None:
        return 3 if re.search(r"\bwaltz", prompt, re.IGNORECASE) else None
    count = (found[1] or found[2]).lower()
    return _COUNTS.get(count) or int(count)


def key_in(prompt: str) -> int | None:
    """As in "A minor", "Bb major", "f-sharp minor", "key of D", "key of Em"; 0 is C major, 12 C minor.

    An "a" is taken for the article where it may be one: "a minor change", and "A major film" at the beginning.
    """
    for found in _KEY.finditer(prompt):
        note, rest = found[1], prompt[found.end() :]
        opens = found.start() == 0 and bool(re.match(r"\s+\w", rest))
        article = note == "a" and not re.search(r"\bkey(?:\s+of|:)\s+$", prompt[: found.start()])
        if found[2] or not (article or (note == "A" and opens)):
            return _number(note, found[2], found[3].lower().startswith("min"))
    if found := _KEY_OF.search(prompt):
        return _number(found[1], found[2], bool(found[3]))
    return None


def _number(note: str, shift: str | None, minor: bool) -> int:
    sign = (shift or "").strip(" -")
    steps = 1 if sign in ("#", "\u266f", "sharp") else -1 if sign else 0
    return (_PITCHES[note.lower()] + steps) % 12 + 12 * minor
