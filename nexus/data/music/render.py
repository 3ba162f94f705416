"""A piece as sound (FluidSynth) and as a MIDI file."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import soxr
from jaxtyping import Float32

from nexus.data.music.fluidsynth import CONTROL, NOTE_OFF, NOTE_ON, PROGRAM, Event, Synthesiser, find_font, keep_loaded
from nexus.data.music.piece import TICKS, Piece
from nexus.media.audio import Audio

if TYPE_CHECKING:
    import mido

DRUM_CHANNEL = 9
LEVEL = 0.1  # RMS, -20 dBFS
PEAK = 0.9
FADE = 0.01  # seconds, at the cut


def render(
    piece: Piece,
    seconds: float | int | None = None,
    rate: int = 24000,
    *,
    channels: int = 1,
    roles: tuple[str, ...] | None = None,
    font: Path | None = None,
) -> Audio:
    """The first `seconds` of a piece (all by default) at an even level, mono or stereo; `roles` picks tracks.

    FluidSynth plays at 44.1 kHz or more, where its samples do not alias, and the result is resampled.

    Raises:
        ValueError: more seconds than were composed, or neither one nor two channels.
    """
    duration = float(piece.seconds) if seconds is None else seconds
    if not 0 < duration <= piece.seconds:
        raise ValueError(f"the piece has {float(piece.seconds):.2f} s; {seconds} s were asked for: compose it longer")
    if channels not in (1, 2):
        raise ValueError(f"channels must be 1 or 2, got {channels}")
    factor = -(-44100 // rate)
    length = round(duration * rate)
    font = font or find_font()
    keep_loaded(font)
    synth = Synthesiser(rate * factor, font)
    try:
        samples = synth.play(events(piece, rate * factor, roles), length * factor)
    finally:
        synth.close()
    if channels == 1:
        samples = samples.mean(0, keepdims=True)
    if factor > 1:
        samples = soxr.resample(samples.T, rate * factor, rate, quality="HQ").T[:, :length]
    return Audio(level(np.ascontiguousarray(samples, np.float32), rate), rate)


def level(samples: Float32[np.ndarray, "C L"], rate: int) -> Float32[np.ndarray, "C L"]:
    """Removes DC, scales to the common RMS unless the peak forbids it, and fades the cut end."""
    samples = samples - samples.mean(axis=1, keepdims=True)
    rms = float(np.sqrt(np.mean(samples**2)))
    if rms > 0:
        samples = samples * min(LEVEL / rms, PEAK / float(np.abs(samples).max()))
    fade = min(round(FADE * rate), samples.shape[1])
    samples[:, samples.shape[1] - fade :] *= np.linspace(1, 0, fade, dtype=np.float32)
    return samples.astype(np.float32)


def events(piece: Piece, rate: int, roles: tuple[str, ...] | None = None) -> list[Event]:
    """Set-up and notes as (sample, kind, channel, number, value), in playing order; offs come before ons."""
    setup: list[Event] = []
    played: list[Event] = []
    for track, channel in zip(piece.tracks, channels_of(piece), strict=True):
        if roles is not None and track.role not in roles:
            continue
        setup.append((0, PROGRAM, channel, track.program, 0))
        controls = {7: track.volume, 10: track.pan, 91: piece.reverb}
        setup += [(0, CONTROL, channel, number, value) for number, value in controls.items()]
        for note in track.notes:
            start, end = (round(t * 60 * rate / (TICKS * piece.tempo)) for t in (note.start, note.start + note.length))
            played.append((start, NOTE_ON, channel, note.pitch, note.velocity))
            played.append((end, NOTE_OFF, channel, note.pitch, 0))
    return setup + sorted(played, key=lambda event: (event[0], event[1] == NOTE_ON, event[2], event[3]))


def channels_of(piece: Piece) -> list[int]:
    """A MIDI channel a track; drums have the tenth."""
    free = iter(c for c in range(16) if c != DRUM_CHANNEL)
    return [DRUM_CHANNEL if track.role == "drums" else next(free) for track in piece.tracks]


def midi(piece: Piece) -> "mido.MidiFile":
    """The piece as a standard MIDI file of type 1, 480 ticks a beat."""
    import mido

    file = mido.MidiFile(type=1, ticks_per_beat=TICKS)
    conductor = mido.MidiTrack()
    conductor.append(mido.MetaMessage("set_tempo", tempo=mido.bpm2tempo(piece.tempo), time=0))
    conductor.append(mido.MetaMessage("time_signature", numerator=piece.meter, denominator=4, time=0))
    file.tracks.append(conductor)
    for track, channel in zip(piece.tracks, channels_of(piece), strict=True):
        lines = mido.MidiTrack()
        lines.append(mido.MetaMessage("track_name", name=f"{track.role}: {track.instrument}", time=0))
        lines.append(mido.Message("program_change", channel=channel, program=track.program, time=0))
        marks = [(n.start + n.length, 0, n.pitch, 0) for n in track.notes]
        marks += [(n.start, 1, n.pitch, n.velocity) for n in track.notes]
        now = 0
        for tick, _, pitch, velocity in sorted(marks):
            lines.append(mido.Message("note_on", channel=channel, note=pitch, velocity=velocity, time=tick - now))
            now = tick
        file.tracks.append(lines)
    return file
