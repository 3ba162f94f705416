"""A composed piece as values. Time is in ticks, 480 to a beat, so the grid is exact at every tempo."""

from dataclasses import dataclass
from fractions import Fraction

from nexus.data.music.theory import Chord, Key

TICKS = 480  # per beat
STEP = TICKS // 4  # a sixteenth note, the grid of all patterns


@dataclass(frozen=True)
class Note:
    start: int  # ticks
    length: int  # ticks
    pitch: int  # MIDI; on the drum track, the General MIDI drum
    velocity: int  # 1 to 127


@dataclass(frozen=True)
class Track:
    role: str  # melody, chords, pad, bass or drums
    instrument: str
    program: int  # General MIDI, from 0
    texture: str
    volume: int  # controller 7
    pan: int  # controller 10, 64 is the middle
    notes: tuple[Note, ...]


@dataclass(frozen=True)
class Piece:
    """What was composed and everything a caption may say about it."""

    seed: int
    split: str
    style: str
    tempo: int  # beats per minute
    key: Key
    meter: int  # beats (quarter notes) a bar
    reverb: int  # controller 91
    sections: tuple[tuple[str, int], ...]  # (letter, bars)
    chords: tuple[Chord, ...]
    tracks: tuple[Track, ...]

    @property
    def instruments(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(track.instrument for track in self.tracks))

    @property
    def melody(self) -> tuple[Note, ...]:
        return next((track.notes for track in self.tracks if track.role == "melody"), ())

    @property
    def bars(self) -> int:
        return sum(bars for _, bars in self.sections)

    @property
    def seconds(self) -> Fraction:
        return Fraction(60 * self.bars * self.meter, self.tempo)

    def facts(self) -> dict[str, object]:
        """What an evaluator may check, as JSON values."""
        return {
            "seed": self.seed,
            "split": self.split,
            "style": self.style,
            "tempo": self.tempo,
            "key": self.key.name,
            "meter": self.meter,
            "instruments": list(self.instruments),
            "lead": next((t.instrument for t in self.tracks if t.role == "melody"), None),
        }
