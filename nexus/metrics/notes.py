"""What music is made of note by note: basic-pitch (arXiv:2203.09893) hears the notes, plain counting does the rest.

The network comes in the package `basic-pitch` (its ONNX file; Apache-2.0).
"""

import logging
import tempfile
import warnings
from collections.abc import Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from functools import cache
from io import StringIO
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any

import numpy as np

from nexus.data.music.theory import Key
from nexus.media import Audio
from nexus.metrics.judge import Judge, Measure, Verdict, digest, need, package_file, version

RATE = 22_050
CONSONANT = (0, 3, 4, 5, 7, 8, 9)  # semitones above the lower note, octaves taken off
FIFTH = 7  # semitones, the widest step of a melody that counts as near
TOGETHER = 0.05  # seconds within which two notes begin as one
GRID = 4  # parts of a beat
SCALE, MELODY, HARMONY, RHYTHM = (
    "notes in the key", "melodic consistency", "harmonic consistency", "rhythmic consistency",
)  # fmt: skip
_NETWORK = "saved_models/icassp_2022/nmp.onnx"


@dataclass(frozen=True)
class Note:
    start: float  # seconds
    end: float
    pitch: int  # MIDI number


@cache
def _transcriber() -> tuple[Any, Any]:
    """basic-pitch's function and its network."""
    need("onnxruntime", "basic-pitch", "onnxruntime")
    logging.disable(logging.WARNING)  # it tells of each framework that it could have used
    try:
        package = need("basic_pitch.inference", "basic-pitch", "basic-pitch")
        return package.predict, package.Model(package_file("basic_pitch", _NETWORK, "basic-pitch"))
    finally:
        logging.disable(logging.NOTSET)


def notes_of(audio: Audio) -> tuple[Note, ...]:
    """The notes in the order of their beginnings; none in silence.

    Raises:
        MissingJudge: basic-pitch or onnxruntime is not installed.
    """
    predict, network = _transcriber()
    if not audio.length or not audio.peak:
        return ()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "music.wav"
        audio.mono().resample(RATE).save(path)
        with warnings.catch_warnings(), redirect_stdout(StringIO()):  # of what reads the file; it says that it does
            warnings.simplefilter("ignore")
            events = predict(path, network)[2]
    return tuple(sorted((Note(float(e[0]), float(e[1]), int(e[2])) for e in events), key=lambda n: (n.start, n.pitch)))


def share_in_key(notes: Sequence[Note], key: Key) -> float:
    """How much of the notes' time is on the seven degrees of a key, 0 to 1; NaN without notes."""
    return _share([(note.pitch % 12 in key.scale, note.end - note.start) for note in notes])


def melodic_consistency(notes: Sequence[Note]) -> float:
    """Share of steps in the upper voice that are no wider than a fifth; NaN for fewer than two notes."""
    melody: list[Note] = []
    for note in notes:  # of those that begin together the highest, and none under a higher one that still sounds
        if melody and note.start - melody[-1].start < TOGETHER:
            melody[-1] = max(melody[-1], note, key=lambda n: n.pitch)
        elif not melody or note.pitch >= melody[-1].pitch or note.start > melody[-1].end - TOGETHER:
            melody.append(note)
    return _share([(abs(b.pitch - a.pitch) <= FIFTH, 1.0) for a, b in pairwise(melody)])


def harmonic_consistency(notes: Sequence[Note]) -> float:
    """Share of the time that pairs of notes sound together in which they are consonant; NaN where none do."""
    pairs = []
    for a, b in combinations(notes, 2):
        together = min(a.end, b.end) - max(a.start, b.start)
        if together > 0:
            pairs.append((abs(a.pitch - b.pitch) % 12 in CONSONANT, together))
    return _share(pairs)


def rhythmic_consistency(notes: Sequence[Note], tempo: float | int) -> float:
    """How steadily notes begin on quarters of a beat: the length of their mean phase, 0 (anywhere) to 1 (on one grid).

    Of n notes anywhere it is about 1 / √n. NaN without notes.
    """
    if not notes:
        return float("nan")
    phases = np.array([note.start for note in notes]) * tempo / 60 * GRID
    return float(np.abs(np.exp(2j * np.pi * phases).mean()))


def _share(weighed: Sequence[tuple[bool, float]]) -> float:
    whole = sum(weight for _, weight in weighed)
    return sum(weight for yes, weight in weighed if yes) / whole if whole > 0 else float("nan")


def notes_judge() -> Judge:
    """Of samples with a field `asked` that has a key and a tempo. Raises MissingJudge."""
    _transcriber()

    def values(sample: Any) -> Verdict:
        asked, notes = sample.asked, sample.heard.notes
        found = {
            SCALE: 100 * share_in_key(notes, asked.key),
            MELODY: melodic_consistency(notes),
            HARMONY: harmonic_consistency(notes),
            RHYTHM: rhythmic_consistency(notes, asked.tempo),
        }
        return Verdict(values=found, note=f"{len(notes)} notes")

    return Judge(
        name="basic-pitch",
        version=version("basic-pitch"),
        weights=digest(package_file("basic_pitch", _NETWORK, "basic-pitch")),
        rate=RATE,
        measures=(
            Measure(name=SCALE, unit="%"), Measure(name=MELODY), Measure(name=HARMONY), Measure(name=RHYTHM),
        ),
        values=values,
    )  # fmt: skip
