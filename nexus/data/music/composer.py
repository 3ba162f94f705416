"""The composer: a seed becomes a piece, by rules. Sections of four-bar phrases over functional progressions."""

import math
from typing import Literal

import numpy as np

from nexus.data.music.accompaniment import write_bass, write_chords, write_drums
from nexus.data.music.melody import write_melody
from nexus.data.music.piece import STEP, TICKS, Note, Piece, Track
from nexus.data.music.styles import BY_NAME, PROGRAMS, STYLES, Style
from nexus.data.music.theory import CLOSED, OPEN, Chord, Key, chord

Split = Literal["train", "valid"]
SPLITS = ("train", "valid")
SECTION_BARS = 8
TEMPI = (40, 220)
WRITERS = {"melody": write_melody, "chords": write_chords, "pad": write_chords, "bass": write_bass}
PANS = {"melody": 58, "chords": 78, "pad": 64, "bass": 64, "drums": 64}


def compose(
    seed: int,
    split: Split = "train",
    *,
    seconds: float | int = 30.0,
    style: str | None = None,
    tempo: int | None = None,
    key: str | None = None,
) -> Piece:
    """A piece of at least `seconds`; `style`, `tempo` (bpm) and `key` ("C minor") are drawn where not given.

    The splits draw from unrelated random streams, so no piece of one is a piece of the other.

    Raises:
        ValueError: an unknown split, style, key or an unplayable tempo or length.
    """
    check(seed, split, seconds, style, tempo)
    rng = np.random.default_rng([seed, SPLITS.index(split), 1701])
    drawn = STYLES[rng.integers(len(STYLES))]
    chosen = drawn if style is None else BY_NAME[style]
    bpm = int(rng.integers(chosen.tempo[0], chosen.tempo[1] + 1))
    bpm = bpm if tempo is None else tempo
    mode = "minor" if rng.random() < chosen.minor else "major"
    tonic = Key(int(rng.integers(12)), mode)
    tonic = tonic if key is None else Key.parse(key)

    bars = math.ceil(seconds * bpm / 60 / chosen.meter)
    letters = [SECTION_FORM[i % len(SECTION_FORM)] for i in range(math.ceil(bars / SECTION_BARS))]
    progressions = {letter: progression(tonic.mode, rng) for letter in "AB"}
    parts = [(part, str(rng.choice(part.instruments))) for part in chosen.parts if rng.random() < part.chance]
    section_seeds = {letter: int(rng.integers(2**31)) for letter in "AB"}

    chords: list[Chord] = []
    notes: dict[int, list[Note]] = {i: [] for i in range(len(parts) + 1)}
    for index, letter in enumerate(letters):
        origin = index * SECTION_BARS * chosen.meter * TICKS
        harmony = lay_out(progressions[letter], tonic, chosen, origin)
        chords += harmony
        for i, (part, _) in enumerate(parts):
            again = np.random.default_rng([section_seeds[letter], i])  # a section returns as it was
            velocity = chosen.velocity - (14 if part.role in ("chords", "pad") else 0)
            write = WRITERS[part.role]
            notes[i] += write(tuple(harmony), SECTION_BARS, chosen.meter, part.texture, part.centre, velocity, again)
        if chosen.drums:
            again = np.random.default_rng([section_seeds[letter], 99])
            notes[len(parts)] += write_drums(chosen.drums, chosen.meter, SECTION_BARS, origin, chosen.velocity, again)

    tracks = [
        Track(p.role, name, PROGRAMS[name], p.texture, p.volume, PANS[p.role], swung(notes[i], chosen.swing))
        for i, (p, name) in enumerate(parts)
    ]
    if chosen.drums:
        beat = swung(notes[len(parts)], chosen.swing)
        tracks.append(Track("drums", "drums", 0, chosen.drums, 100, PANS["drums"], beat))
    sections = tuple((letter, SECTION_BARS) for letter in letters)
    return Piece(
        seed, split, chosen.name, bpm, tonic, chosen.meter, chosen.reverb, sections, tuple(chords), tuple(tracks)
    )


SECTION_FORM = "AABA"


def check(seed: int, split: str, seconds: float | int, style: str | None, tempo: int | None) -> None:
    if seed < 0:
        raise ValueError(f"seed must not be negative, got {seed}")
    if split not in SPLITS:
        raise ValueError(f"unknown split {split!r}; there are train and valid")
    if not 0 < seconds <= 3600:
        raise ValueError(f"seconds must be above 0 and at most 3600, got {seconds}")
    if style is not None and style not in BY_NAME:
        raise ValueError(f"unknown style {style!r}; there are {', '.join(BY_NAME)}")
    if tempo is not None and not TEMPI[0] <= tempo <= TEMPI[1]:
        raise ValueError(f"tempo must be from {TEMPI[0]} to {TEMPI[1]} bpm, got {tempo}")


def progression(mode: str, rng: np.random.Generator) -> tuple[int, ...]:
    """Eight degrees: a phrase that leads on and one that comes home."""
    opens, closes = OPEN[mode], CLOSED[mode]
    return opens[rng.integers(len(opens))] + closes[rng.integers(len(closes))]


def lay_out(degrees: tuple[int, ...], key: Key, style: Style, origin: int) -> list[Chord]:
    """One section of chords, `chords_per_bar` to a bar; the progression repeats to fill it."""
    length = style.meter * TICKS // style.chords_per_bar
    count = SECTION_BARS * style.chords_per_bar
    return [chord(key, degrees[i % 8], style.harmony, origin + i * length, length) for i in range(count)]


def swung(notes: list[Note], swing: float | int) -> tuple[Note, ...]:
    """Moves the off-beat eighth from the middle of its beat to `swing` of it, and all times between in proportion."""

    def warp(tick: int) -> int:
        beat, rest = divmod(tick, TICKS)
        half = TICKS // 2
        middle = swing * TICKS
        moved = rest / half * middle if rest <= half else middle + (rest - half) / half * (TICKS - middle)
        return beat * TICKS + round(moved)

    ordered = sorted(notes, key=lambda note: (note.start, note.pitch))
    if swing == 0.5:
        return tuple(ordered)
    return tuple(
        Note(warp(n.start), max(warp(n.start + n.length) - warp(n.start), STEP // 4), n.pitch, n.velocity)
        for n in ordered
    )
