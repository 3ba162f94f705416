"""Accompaniment: chord textures, bass lines and drums, each from its rhythm strings."""

from itertools import pairwise

import numpy as np

from nexus.data.music.melody import chord_at, onsets
from nexus.data.music.patterns import BASS, CHORDS, DRUM_NOTES, DRUMS, FILLS
from nexus.data.music.piece import STEP, Note
from nexus.data.music.theory import Chord, nearest, voicing

BROKEN = {
    "arpeggio": (0, 1, 2, 3, 2, 1),
    "rolling": (0, 1, 2, 1),
    "picking": (0, 2, 1, 2, 0, 3, 1, 2),
}  # voices in turn
STRUM = 9  # ticks between the strings of a strum


def loud(velocity: int, accent: int, rng: np.random.Generator) -> int:
    return int(np.clip(velocity + accent + rng.integers(-5, 6), 1, 127))


def write_chords(
    chords: tuple[Chord, ...], bars: int, meter: int, texture: str, centre: int, velocity: int, rng: np.random.Generator
) -> list[Note]:
    """Chords of one section in a texture: held, repeated by a rhythm, or broken into single notes."""
    rhythms = CHORDS[texture, meter]
    rhythm = rhythms[rng.integers(len(rhythms))]
    notes: list[Note] = []
    voices: tuple[int, ...] = ()
    last: Chord | None = None
    for tick, step, length in hits(rhythm, chords, bars, meter):
        chord = chord_at(chords, tick)
        if chord is not last:
            voices, last = voicing(chord, voices, centre), chord
        loudness = loud(velocity, 6 if step % 8 == 0 else 0, rng)
        if texture in BROKEN:
            spread = (*voices, min(voices) + 12)
            position = (step if texture == "rolling" else step // 2) % (4 * meter)
            order = BROKEN[texture]
            pitch = spread[order[position % len(order)] % len(spread)]
            notes.append(Note(tick, length * STEP, pitch, loudness))
            continue
        gap = STRUM if texture == "strum" else 0
        strings = voices if step % 4 == 0 else voices[::-1]  # down on the beat, up between
        for i, pitch in enumerate(strings):
            notes.append(Note(tick + i * gap, length * STEP - i * gap - 10, pitch, loudness))
    return notes


def hits(rhythm: str, chords: tuple[Chord, ...], bars: int, meter: int) -> list[tuple[int, int, int]]:
    """(tick, step in bar, length in steps) of a repeated bar; notes end, and start anew, where the chord changes."""
    found: list[tuple[int, int, int]] = []
    start, steps = chords[0].start, 4 * meter
    changes = {chord.start for chord in chords}
    for bar in range(bars):
        for step, length in onsets(rhythm):
            tick = start + (bar * steps + step) * STEP
            inside = [change for change in sorted(changes) if tick < change < tick + length * STEP]
            edges = [tick, *inside, tick + length * STEP]
            for left, right in pairwise(edges):
                found.append((left, step + (left - tick) // STEP, (right - left) // STEP))
    return found


def write_bass(
    chords: tuple[Chord, ...], bars: int, meter: int, texture: str, centre: int, velocity: int, rng: np.random.Generator
) -> list[Note]:
    """Roots on the chord's first beat; fifths, octaves or a walk towards the next root after it."""
    rhythms = BASS[texture, meter]
    rhythm = rhythms[rng.integers(len(rhythms))]
    notes: list[Note] = []
    pitch = nearest(centre, (chords[0].root,))
    for tick, step, length in hits(rhythm, chords, bars, meter):
        chord = chord_at(chords, tick)
        root = nearest(centre, (chord.root,))
        beat = (tick - chord.start) // (4 * STEP)
        if tick == chord.start or texture in ("root", "eighths", "offbeat", "rock"):
            pitch = root
        elif texture == "walking":
            following = chord_at(chords, chord.start + chord.length) if chord is not chords[-1] else chords[0]
            goal = nearest(pitch, (following.root,))
            tones = chord.pitch_classes if beat == 2 else chord.scale
            direction = 1 if goal > pitch or (goal == pitch and pitch <= centre) else -1
            pitch = nearest(pitch + direction * int(rng.integers(2, 4)), tones)
            pitch = pitch - 12 if pitch > centre + 10 else pitch + 12 if pitch < centre - 8 else pitch
        else:
            choice = rng.random()
            pitch = nearest(root + 6, (chord.fifth,)) if choice < 0.5 else root + 12 if choice < 0.6 else root
        notes.append(Note(tick, length * STEP - 15, pitch, loud(velocity, 8 if step == 0 else 0, rng)))
    return notes


def write_drums(name: str, meter: int, bars: int, start: int, velocity: int, rng: np.random.Generator) -> list[Note]:
    """A pattern bar by bar; every fourth bar ends in a fill where the style has one, and a crash follows it."""
    patterns = DRUMS[name, meter]
    pattern = patterns[rng.integers(len(patterns))]
    notes: list[Note] = []
    for bar in range(bars):
        lines = dict(pattern)
        origin = start + bar * 4 * meter * STEP
        if bar % 4 == 3 and name in FILLS:
            lines = {drum: line[:8] + "." * 8 for drum, line in lines.items() if drum != "kick"} | {
                "kick": lines.get("kick", "." * 16)
            }
            for drum, line in FILLS[name].items():
                lines[drum] = "".join(
                    b if b != "." else a for a, b in zip(lines.get(drum, "." * 16), line, strict=True)
                )
        if bar and bar % 4 == 0 and name in ("rock", "four-on-the-floor", "funk", "march"):
            lines["crash"] = "x" + "." * (4 * meter - 1)
        for drum, line in lines.items():
            for step, mark in enumerate(line):
                if mark in "xXo":
                    accent = {"X": 10, "x": -4, "o": -26}[mark]
                    loudness = loud(velocity, accent, rng)
                    notes.append(Note(origin + step * STEP, STEP, DRUM_NOTES[drum], loudness))
    return notes
