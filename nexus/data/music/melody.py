"""Melodies: a motif of rhythm and contour, repeated over the harmony, with chord tones on the beats and cadences."""

import numpy as np

from nexus.data.music.patterns import MELODY
from nexus.data.music.piece import STEP, Note
from nexus.data.music.theory import Chord, nearest

CONTOURS = ((1, 1, -1), (-1, -1, 1), (1, -1, 1), (2, -1, -1), (-1, 1, 1), (1, 1, 1), (-1, -1, -1), (1, 2, -1))
FORM = "aaba"  # which motif each bar of a phrase repeats; its last bar closes instead


def onsets(pattern: str) -> list[tuple[int, int]]:
    """(start, length) in steps of every `x`; a note is held to the next onset or rest."""
    found: list[tuple[int, int]] = []
    for i, mark in enumerate(pattern):
        if mark == "x":
            length = 1
            while i + length < len(pattern) and pattern[i + length] == ".":
                length += 1
            found.append((i, length))
    return found


def write_melody(
    chords: tuple[Chord, ...], bars: int, meter: int, texture: str, centre: int, velocity: int, rng: np.random.Generator
) -> list[Note]:
    """One section's melody: phrases of four bars, the last bar of each a long cadence note."""
    rhythms = MELODY[texture, meter]
    first, second = rng.choice(len(rhythms), 2)
    motifs = {
        "a": (rhythms[first], CONTOURS[rng.integers(len(CONTOURS))]),
        "b": (rhythms[second], CONTOURS[rng.integers(len(CONTOURS))]),
    }
    steps = 4 * meter
    start = chords[0].start
    notes: list[Note] = []
    pitch = nearest(centre + int(rng.integers(-3, 4)), chords[0].pitch_classes)
    for bar in range(bars):
        closes = bar % 4 == 3 or bar == bars - 1
        rhythm, contour = motifs[FORM[bar % 4]]
        arch = (0, 2, 4, 0)[bar % 4]
        marks = onsets("x" + "." * (steps - 5) + "----" if closes else rhythm)
        for i, (step, length) in enumerate(marks):
            tick = start + (bar * steps + step) * STEP
            harmony = chord_at(chords, tick)
            target = pitch + 2 * contour[i % len(contour)] if i else pitch + 0.4 * (centre + arch - pitch)
            strong = step % 4 == 0 or length >= 4
            tones = harmony.pitch_classes[:3] if strong else harmony.scale
            pitch = nearest(float(np.clip(target, centre - 9, centre + 10)), tones)
            accent = 8 if step == 0 else 3 if step % 4 == 0 else 0
            loudness = velocity + accent + arch + int(rng.integers(-4, 5))
            notes.append(Note(tick, max(length * STEP - 20, STEP // 2), pitch, int(np.clip(loudness, 1, 127))))
    return notes


def chord_at(chords: tuple[Chord, ...], tick: int) -> Chord:
    """The chord that sounds at a tick."""
    for chord in chords:
        if chord.start <= tick < chord.start + chord.length:
            return chord
    raise ValueError(f"tick {tick} is outside of the chords, {chords[0].start} to {chords[-1].start}")
