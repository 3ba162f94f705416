"""Subtitles from the known times of the lines: cues for the soft track of an MP4, and SRT and WebVTT files."""

import re
import textwrap
from collections.abc import Sequence
from fractions import Fraction

import pysubs2

from nexus.film.timeline import Line, Timeline
from nexus.media.io import PathLike, check_suffix, write_atomically
from nexus.media.video_io import Cue

COLUMNS = 42  # characters a row
ROWS = 2
LINGER = Fraction(1, 2)  # seconds for which words stay after they were spoken, where the next ones allow it


def cues(timeline: Timeline) -> tuple[Cue, ...]:
    """One cue a line, or several for a long one, its time shared by the number of characters.

    A cue never overlaps the next and never outlasts the film.
    """
    lines = sorted(timeline.lines, key=lambda line: line.start_sample)
    result: list[Cue] = []
    for line, following in zip(lines, [*lines[1:], None], strict=True):
        end = Fraction(following.start_sample, timeline.rate) if following else timeline.duration
        result += _cues_of(line, timeline.rate, end)
    return tuple(result)


def chapters(timeline: Timeline, titles: Sequence[str]) -> tuple[Cue, ...]:
    """One chapter a scene, from its first frame to the next scene's."""
    if len(titles) != len(timeline.shots):
        raise ValueError(f"{len(timeline.shots)} scenes need as many titles, got {len(titles)}")
    starts = [shot.start_frame / timeline.fps for shot in timeline.shots]
    ends = [*starts[1:], timeline.duration]
    return tuple(Cue(start=a, stop=b, text=title) for a, b, title in zip(starts, ends, titles, strict=True))


def save_subtitles(path: PathLike, shown: Sequence[Cue]) -> None:
    """Writes .srt or .vtt, all of it or nothing."""
    suffix = check_suffix(path, (".srt", ".vtt"))
    file = pysubs2.SSAFile()
    for cue in shown:
        text = cue.text.translate(str.maketrans("{}", "()"))  # pysubs2 takes braces for style tags
        if suffix == ".vtt":
            text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
        event = pysubs2.SSAEvent(start=round(cue.start * 1000), end=round(cue.stop * 1000))
        event.text = text.replace("\n", "\\N")
        file.append(event)
    write_atomically(path, file.to_string(suffix[1:]).encode())


def _cues_of(line: Line, rate: int, end: Fraction) -> list[Cue]:
    text = re.sub(r"\s+", " ", line.text).strip()
    rows = textwrap.wrap(text, COLUMNS, break_on_hyphens=False) or [text]
    screens = ["\n".join(rows[i : i + ROWS]) for i in range(0, len(rows), ROWS)]
    start, spoken = Fraction(line.start_sample, rate), Fraction(line.length, rate)
    total, before, result = sum(map(len, screens)), 0, []
    for screen in screens:
        begin = start + spoken * Fraction(before, max(total, 1))
        before += len(screen)
        stop = start + spoken * Fraction(before, max(total, 1))
        result.append(Cue(start=begin, stop=stop, text=screen))
    last = result[-1]
    result[-1] = Cue(start=last.start, stop=max(min(last.stop + LINGER, end), last.start), text=last.text)
    return [cue for cue in result if cue.text and cue.stop > cue.start]
