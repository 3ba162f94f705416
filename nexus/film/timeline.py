"""Where everything is in the film, on one exact clock: whole frames for pictures, whole samples for sound.

The spoken lines decide how long a shot lasts. All functions are pure; seconds go in as fractions.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from nexus.media.clock import sample_at

LEAD = Fraction(2, 5)  # seconds of a shot before its first line
PAUSE = Fraction(3, 10)  # between lines
TAIL = Fraction(3, 5)  # after the last line
UNSPOKEN = Fraction(4)  # seconds of a shot that says neither a duration nor a line

TransitionKind = Literal["cut", "dissolve", "fade"]


@dataclass(frozen=True, kw_only=True)
class Transition:
    """How a shot gives way to the next, in `frames`: a dissolve overlaps both, a fade passes through black between."""

    kind: TransitionKind = "cut"
    frames: int = 0

    def __post_init__(self):
        if self.frames < 0 or (self.kind == "cut") != (self.frames == 0):
            raise ValueError(f"a {self.kind} cannot last {self.frames} frames; a cut lasts 0, the others at least 1")

    @property
    def overlap(self) -> int:
        """Frames that two shots share."""
        return self.frames if self.kind == "dissolve" else 0

    @property
    def fade_out(self) -> int:
        """Frames in which the shot before goes to black."""
        return (self.frames + 1) // 2 if self.kind == "fade" else 0

    @property
    def fade_in(self) -> int:
        """Frames in which the shot after comes from black."""
        return self.frames - self.fade_out if self.kind == "fade" else 0


@dataclass(frozen=True, kw_only=True)
class LineTimes:
    """A spoken line: its length in samples, and where it begins in its shot (seconds), if not after the line before."""

    who: str
    text: str
    length: int
    at: Fraction | None = None


@dataclass(frozen=True, kw_only=True)
class SoundTimes:
    """A noise: from `at` (seconds into its shot) for `duration` seconds, or to the end of the shot."""

    at: Fraction = Fraction(0)
    duration: Fraction | None = None
    gain_db: float = 0.0


@dataclass(frozen=True, kw_only=True)
class SceneTimes:
    """What place() must know of a scene. `transition` leads to the next scene, or from the last one to black."""

    duration: Fraction | None = None  # at least so long
    lines: tuple[LineTimes, ...] = ()
    sounds: tuple[SoundTimes, ...] = ()
    transition: Transition = Transition()


@dataclass(frozen=True, kw_only=True)
class Shot:
    """Frames start_frame .. start_frame + frames; with a dissolve, the next shot begins before this one ends."""

    scene: int
    start_frame: int
    frames: int
    transition: Transition

    @property
    def end_frame(self) -> int:
        return self.start_frame + self.frames


@dataclass(frozen=True, kw_only=True)
class Line:
    scene: int
    who: str
    text: str
    start_sample: int
    length: int


@dataclass(frozen=True, kw_only=True)
class Sound:
    scene: int
    index: int  # among the sounds of its scene
    start_sample: int
    length: int
    gain_db: float


@dataclass(frozen=True, kw_only=True)
class Region:
    """A stretch of the film with music under it."""

    start_sample: int
    length: int


@dataclass(frozen=True, kw_only=True)
class Timeline:
    fps: Fraction
    rate: int
    shots: tuple[Shot, ...]
    lines: tuple[Line, ...]
    sounds: tuple[Sound, ...]
    score: tuple[Region, ...]

    @property
    def frames(self) -> int:
        return self.shots[-1].end_frame if self.shots else 0

    @property
    def length(self) -> int:
        """Samples: the whole film's, to the nearest."""
        return sample_at(self.frames, self.fps, self.rate)

    @property
    def duration(self) -> Fraction:
        """Seconds of picture."""
        return self.frames / self.fps


def place(
    scenes: Sequence[SceneTimes], fps: Fraction, rate: int = 48000, score_under: Sequence[int] | None = None
) -> Timeline:
    """Places scenes one after another.

    score_under: indices of the scenes with music; None is all of them, () is none. Neighbours share one region.
    Raises:
        ValueError: a scene has no length, or two of its lines overlap.
    """
    shots, lines, sounds, start, before = [], [], [], 0, Transition()
    for index, scene in enumerate(scenes):
        offsets = line_offsets(scene, before, fps, rate, index)
        frames = shot_frames(scene, offsets, before, fps, rate, index)
        shots.append(Shot(scene=index, start_frame=start, frames=frames, transition=scene.transition))
        first, last = sample_at(start, fps, rate), sample_at(start + frames, fps, rate)
        for line, offset in zip(scene.lines, offsets, strict=True):
            at = first + offset
            lines.append(Line(scene=index, who=line.who, text=line.text, start_sample=at, length=line.length))
        sounds += [_sound(sound, index, i, first, last, rate) for i, sound in enumerate(scene.sounds)]
        start, before = start + frames - scene.transition.overlap, scene.transition
    if shots and shots[-1].transition.kind == "dissolve":  # nothing follows to dissolve into: black does
        shots[-1] = _into_black(shots[-1])
    score = _regions(shots, range(len(shots)) if score_under is None else score_under, fps, rate)
    return Timeline(
        fps=fps, rate=rate, shots=tuple(shots), lines=tuple(lines), sounds=tuple(sounds), score=tuple(score)
    )


def line_offsets(scene: SceneTimes, before: Transition, fps: Fraction, rate: int, index: int = 0) -> list[int]:
    """Samples from the start of the shot to each line: one after another with a pause, or where `at` says.

    Nobody speaks while the shot before is still to be seen, unless `at` says so.
    """
    offsets: list[int] = []
    lead = max(LEAD, before.overlap / fps)
    for line in scene.lines:
        end = offsets[-1] + scene.lines[len(offsets) - 1].length if offsets else None
        if line.at is None:
            offsets.append(_samples(lead, rate) if end is None else end + _samples(PAUSE, rate))
            continue
        begin = _samples(line.at, rate)
        if begin < 0:
            raise ValueError(f"scene {index + 1}: the line {line.text!r} begins before its scene, at {line.at} s")
        if end is not None and begin < end:
            raise ValueError(
                f"scene {index + 1}: the line {line.text!r} begins at {float(line.at):.2f} s, while the line before it "
                f"is spoken until {end / rate:.2f} s; begin it later, or leave `at` out"
            )
        offsets.append(begin)
    return offsets


def shot_frames(
    scene: SceneTimes, offsets: Sequence[int], before: Transition, fps: Fraction, rate: int, index: int = 0
) -> int:
    """Frames of a shot: its duration, or longer where its lines and transitions need it."""
    if scene.duration is not None and scene.duration <= 0:
        raise ValueError(f"scene {index + 1}: a duration must be more than 0 seconds, got {scene.duration}")
    seconds = scene.duration if scene.duration is not None else (Fraction(0) if scene.lines else UNSPOKEN)
    if offsets:
        spoken = Fraction(offsets[-1] + scene.lines[-1].length, rate)
        seconds = max(seconds, spoken + max(TAIL, scene.transition.overlap / fps))
    transitions = before.overlap + before.fade_in + scene.transition.overlap + scene.transition.fade_out
    return max(math.ceil(seconds * fps), transitions, 1)


def _samples(seconds: Fraction, rate: int) -> int:
    return math.floor(seconds * rate + Fraction(1, 2))


def _sound(sound: SoundTimes, scene: int, index: int, first: int, last: int, rate: int) -> Sound:
    """Cut to its shot; one that would begin after the shot's end is an error."""
    start = first + _samples(sound.at, rate)
    if not first <= start < last:
        raise ValueError(
            f"scene {scene + 1}: a sound begins at {float(sound.at):g} s, "
            f"outside its scene of {(last - first) / rate:.2f} s"
        )
    wanted = last if sound.duration is None else start + _samples(sound.duration, rate)
    if wanted <= start:
        raise ValueError(f"scene {scene + 1}: a sound must last more than 0 seconds, got {sound.duration}")
    return Sound(scene=scene, index=index, start_sample=start, length=min(wanted, last) - start, gain_db=sound.gain_db)


def _into_black(shot: Shot) -> Shot:
    fade = Transition(kind="fade", frames=min(2 * shot.transition.frames, 2 * shot.frames))
    return Shot(scene=shot.scene, start_frame=shot.start_frame, frames=shot.frames, transition=fade)


def _regions(shots: Sequence[Shot], under: Sequence[int], fps: Fraction, rate: int) -> list[Region]:
    wrong = [index for index in under if not 0 <= index < len(shots)]
    if wrong:
        raise ValueError(f"the score lies under scenes {wrong}, but scenes are 0 to {len(shots) - 1}")
    spans: list[list[int]] = []
    for index in sorted(set(under)):
        shot = shots[index]
        if spans and shot.start_frame <= spans[-1][1]:
            spans[-1][1] = shot.end_frame
        else:
            spans.append([shot.start_frame, shot.end_frame])
    edges = [(sample_at(a, fps, rate), sample_at(b, fps, rate)) for a, b in spans]
    return [Region(start_sample=a, length=b - a) for a, b in edges]
