"""Codecs side by side on one sound, by judges that others made; and Opus (RFC 6716), which learnt nothing, as the mark.

One sound has no interval: these are figures of this sound and nothing else. `nexus eval speech` measures a codec over a
set, with intervals.
"""

import io
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, runtime_checkable

import numpy as np

from nexus.codecs.long_sounds import (
    as_channels,
    codebooks_at,
    decode_long,
    encode_long,
)
from nexus.media import Audio
from nexus.media.audio_blocks import SoundBlocks
from nexus.metrics.dnsmos import dnsmos_judge
from nexus.metrics.judge import Judge, Measure, MissingJudge, Sample, Verdict
from nexus.metrics.pesq import pesq_judge
from nexus.metrics.recogniser import CLEAR, Recogniser, normalise, recogniser_judge
from nexus.metrics.si_sdr import si_sdr_judge
from nexus.metrics.speaker import speaker_judge
from nexus.metrics.spectra import spectra_judge
from nexus.metrics.stoi import stoi_judge

Progress = Callable[[int, int, str], None]  # done, in all, of what

JUDGES = (spectra_judge, pesq_judge, stoi_judge, si_sdr_judge, dnsmos_judge, speaker_judge)
OPUS_LEAST, OPUS_MOST = 6.0, 256.0  # kb/s a channel; below 6 RFC 6716 recommends nothing
OPUS_RATE = 48_000
BITRATE, FACTOR = "bit rate", "real-time factor"
OWN_MEASURES = (Measure(name=BITRATE, unit="kb/s", better="lower"), Measure(name=FACTOR, better="lower"))


@runtime_checkable
class Coder(Protocol):
    """`there_and_back(sound)` gives the sound as it comes back, and the bits it cost; `notes` what was done to it."""

    @property
    def name(self) -> str: ...

    notes: tuple[str, ...]

    def there_and_back(self, sound: Audio) -> tuple[Audio, float]: ...


@dataclass(kw_only=True)
class Neural:
    """A codec of ours, at a bit rate (kb/s a channel) or with all its codebooks."""

    codec: Any
    bitrate: float | None = None
    name: str = ""
    notes: tuple[str, ...] = ()

    def there_and_back(self, sound: Audio) -> tuple[Audio, float]:
        n_codebooks = None if self.bitrate is None else codebooks_at(self.codec, self.bitrate)
        at_rate = sound.resample(self.codec.sample_rate)
        blocks = SoundBlocks(rate=at_rate.rate, channels=at_rate.channels, blocks=iter([at_rate.samples]))
        prepared, said = as_channels(blocks, self.codec)
        coded = encode_long(self.codec, prepared, n_codebooks)
        back = decode_long(self.codec, coded)
        made = Audio(np.concatenate(list(back.blocks), axis=1), back.rate)
        resampled = f"at {at_rate.rate} Hz" if at_rate.rate != sound.rate else ""
        self.notes = tuple(note for note in (resampled, said) if note)
        return made, len(coded.codes) * self.codec.bitrate_of(coded.codes.shape[1]) * sound.seconds


@dataclass(kw_only=True)
class Opus:
    """libopus at a bit rate (kb/s a channel), variable, through a file in memory."""

    bitrate: float
    notes: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return f"opus@{self.bitrate:.3g}kbps"

    def there_and_back(self, sound: Audio) -> tuple[Audio, float]:
        import av

        from nexus.media.audio_io import decode_stream, encode

        at_rate = (sound if sound.channels <= 2 else sound.mono()).resample(OPUS_RATE)
        self.notes = () if at_rate.channels == sound.channels else (f"{sound.channels} channels mixed down to one",)
        data = encode(at_rate.samples, OPUS_RATE, ".opus", round(1000 * self.bitrate * at_rate.channels))
        with av.open(io.BytesIO(data), mode="r") as file:
            bits = 8 * sum(packet.size for packet in file.demux(file.streams.audio[0]))
        with av.open(io.BytesIO(data), mode="r") as file:
            samples, rate = decode_stream(file)
        return Audio(samples, rate).fit(at_rate.length), float(bits)


@dataclass(frozen=True, kw_only=True)
class Row:
    """A codec's figures; NaN where a judge could not judge, and why among the notes."""

    name: str
    values: dict[str, float]
    made: Audio
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Comparison:
    sound: Audio
    text: str  # what is said in it, by whom `said_by` says; "" where nothing is
    said_by: str
    measures: tuple[Measure, ...]
    rows: tuple[Row, ...]  # the sound itself first
    left_out: tuple[str, ...]  # judges that were, and what they want
    judges: tuple[str, ...] = field(default=())  # name and version of each that was there


def opus_at(bitrates: Sequence[float]) -> list[Opus]:
    """Opus once for each bit rate, or for the least it has; rates within a twentieth count as one."""
    wanted: list[float] = []
    for rate in sorted(min(max(rate, OPUS_LEAST), OPUS_MOST) for rate in bitrates):
        if not wanted or rate > 1.05 * wanted[-1]:
            wanted.append(rate)
    return [Opus(bitrate=rate) for rate in wanted]


def compare_codecs(
    sound: Audio,
    coders: Sequence[Callable[[], Coder]],
    *,
    text: str | None = None,
    beside: Callable[[Sequence[float]], Sequence[Coder]] | None = None,
    makers: Sequence[Callable[[], Judge]] = JUDGES,
    progress: Progress | None = None,
) -> Comparison:
    """Every codec (loaded when its turn comes, let go before the next) before every judge that is installed.

    Args:
        text: what is said in `sound`, for error rates; by default what Whisper hears in it.
        beside: gives more coders, once the bit rates of all codecs (kb/s a channel of the sound) are known.
    """
    judges, left_out = [], []
    for make in makers:
        try:
            judges.append(make())
        except MissingJudge as missing:
            left_out.append(str(missing))
    text, said_by, found = _words(sound, text, left_out)
    judges += found
    rows = [_judged(Row(name="the sound itself", values={}, made=sound), sound, text, judges, own=True)]
    turns = list(coders)
    for i, load in enumerate(turns):
        coder = load()
        if progress is not None:
            progress(i, len(turns), f"{coder.name}")
        rows.append(_judged(passed(coder, sound), sound, text, judges))
        del coder  # before the next one is loaded
        if beside is not None and i + 1 == len(coders):
            rates = [row.values[BITRATE] / sound.channels for row in rows[1:]]
            turns += [lambda coder=coder: coder for coder in beside(rates)]
    measures = (*OWN_MEASURES, *(measure for judge in judges for measure in judge.measures))
    return Comparison(
        sound=sound,
        text=text,
        said_by=said_by,
        measures=measures,
        rows=tuple(rows),
        left_out=tuple(left_out),
        judges=tuple(f"{judge.name} ({judge.version})" for judge in judges),
    )


def _words(sound: Audio, text: str | None, left_out: list[str]) -> tuple[str, str, list[Judge]]:
    """What is said, who says so, and the judge of error rates where something is."""
    try:
        recogniser = Recogniser()
        judge = recogniser_judge(recogniser.transcribe)
        heard = recogniser.transcribe(sound) if text is None else text
        if not any(c.isalnum() for c in normalise(heard)):
            left_out.append("word error rates: Whisper hears no words in the sound; --text says what is said")
            return "", "", []
        # How many of a set are clear says nothing of one sound.
        judge = replace(judge, measures=tuple(measure for measure in judge.measures if measure.name != CLEAR))
        return heard, "Whisper, of the sound itself" if text is None else "--text", [judge]
    except MissingJudge as missing:
        left_out.append(str(missing))
        return text or "", "", []


def passed(coder: Coder, sound: Audio) -> Row:
    """The sound through a codec; what loads on first use is not timed."""
    coder.there_and_back(sound.cut(0, min(sound.length, sound.rate // 2)))
    start = time.perf_counter()
    made, bits = coder.there_and_back(sound)
    took = time.perf_counter() - start
    values = {BITRATE: bits / sound.seconds / 1000, FACTOR: took / sound.seconds}
    return Row(name=coder.name, values=values, made=made, notes=coder.notes)


def _judged(row: Row, sound: Audio, text: str, judges: Sequence[Judge], own: bool = False) -> Row:
    """`own`: the sound itself, which is not compared with itself."""
    compared = None if own else sound
    sample = Sample(prompt=text, made=row.made, reference=compared, voice=compared)
    values, notes = dict(row.values), list(row.notes)
    for judge in judges:
        if own and judge.needs:
            continue
        verdict: Verdict = judge.values(sample)
        values |= {measure.name: verdict.values[measure.name] for measure in judge.measures}
        notes += [verdict.note] if verdict.note else []
    return replace(row, values=values, notes=tuple(notes))
