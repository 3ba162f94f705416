"""One clip of the storybook world: a thing acts before a drawn place, a camera watches, a caption says so."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw

from nexus.data.storybook.backgrounds import MARGIN, PLACES, draw_place
from nexus.data.storybook.caption import Facts, caption
from nexus.data.storybook.motion import PATHS, REALM_PATHS, camera_window
from nexus.data.storybook.nouns import ALL, CORE_NOUNS, Noun, find_nouns
from nexus.data.storybook.sprites import COLOURS, sprite
from nexus.data.storybook.weather import Weather

Split = Literal["train", "valid"]
_STREAMS = {"train": 0, "valid": 1}  # first word of the seed: the splits never share a clip
_STILL = 1  # third word of a still's seed: it is not the first frame of a clip
Within = Callable[[float, float], float]  # draws from low to high
_FREE = ("air", "swim", "space")  # realms that have no ground


@dataclass(frozen=True)
class StoryClip:
    """`frames` at `fps` of what `caption` says; `facts` says it in keys.

    `thing` is how much of each pixel the thing covers, 0 to 255 (what a wave before it hides is counted).
    """

    frames: UInt8[np.ndarray, "F H W 3"]
    thing: UInt8[np.ndarray, "F H W"]
    fps: int
    caption: str
    facts: Facts


def clip(
    seed: int,
    split: Split = "train",
    *,
    size: int = 64,
    frames: int = 33,
    fps: int = 8,
    nouns: tuple[str, ...] = CORE_NOUNS,
    variety: float | int = 1.0,
) -> StoryClip:
    """The clip of that seed: always the same for the same arguments.

    `variety`, 0 to 1, is how much clips of the same facts differ in how tall the thing is, where it rests and when it
    sways: 0 takes the middle of each range. What its path does not turn looks right in half of the clips at 1, and
    always left from 0.5 down. Places are drawn as varied as ever.

    Raises:
        ValueError: an unknown split or noun, a size, length or rate below one, or a variety outside 0 to 1.
    """
    if min(size // 16, frames, fps) < 1:
        raise ValueError(f"size is at least 16, frames and fps at least 1; got {size}, {frames}, {fps}")
    if not 0 <= variety <= 1:
        raise ValueError(f"variety must be from 0 to 1, got {variety}")
    facts, rng = _clip_facts(seed, split, nouns)
    words = caption(facts, rng)
    return StoryClip(*_film(facts, size, frames, fps, rng, variety), fps, words, facts)


def clip_facts(seed: int, split: Split = "train", *, nouns: tuple[str, ...] = CORE_NOUNS) -> Facts:
    """What `clip` of the same arguments shows, without drawing it."""
    return _clip_facts(seed, split, nouns)[0]


def _clip_facts(seed: int, split: Split, nouns: tuple[str, ...]) -> tuple[Facts, np.random.Generator]:
    rng = np.random.default_rng([_stream(split), seed])
    return _facts(find_nouns(nouns), rng), rng


def _stream(split: str) -> int:
    if split not in _STREAMS:
        raise ValueError(f"split is train or valid, not {split!r}")
    return _STREAMS[split]


def still(seed: int, split: Split = "train", *, size: int = 64, nouns: tuple[str, ...] = CORE_NOUNS) -> StoryClip:
    """A clip of one frame: a thing at rest before a camera at rest, and a caption of what one picture can show.

    Raises:
        ValueError: as `clip`.
    """
    if size < 16:
        raise ValueError(f"size is at least 16, got {size}")
    facts, rng = _still_facts(seed, split, nouns)
    words = caption(facts, rng)
    return StoryClip(*_film(facts, size, 1, 8, rng), 8, words, facts)


def still_facts(seed: int, split: Split = "train", *, nouns: tuple[str, ...] = CORE_NOUNS) -> Facts:
    """What `still` of the same arguments shows, without drawing it."""
    return _still_facts(seed, split, nouns)[0]


def _still_facts(seed: int, split: Split, nouns: tuple[str, ...]) -> tuple[Facts, np.random.Generator]:
    rng = np.random.default_rng([_stream(split), seed, _STILL])
    return replace(_facts(find_nouns(nouns), rng), motion="stand", camera="still"), rng


def _facts(nouns: tuple[Noun, ...], rng: np.random.Generator) -> Facts:
    def one(options: tuple[str, ...]) -> str:
        return options[int(rng.integers(len(options)))]

    noun = nouns[int(rng.integers(len(nouns)))]
    home = tuple(key for key, place in PLACES.items() if noun.realm in place.realms)
    if noun.key == "lighthouse":
        home = ("sea", "sea", "beach", "mountains", "snow")
    place = one(home if rng.random() < 0.85 else tuple(PLACES))
    times = PLACES[place].times
    motion = one(REALM_PATHS[noun.realm])
    camera = (
        "still"
        if motion not in ("stand", "grow", "bounce") or rng.random() < 0.35
        else one(("pan_left", "pan_right", "zoom_in", "zoom_out"))
    )
    weather = "clear"
    if place not in ("underwater", "room") and rng.random() < 0.2:
        weather = "stars" if place == "space" else one(("rain", "snow", "stars"))
    time = "night" if weather == "stars" else (times[0] if rng.random() < 0.55 else one(times))
    companion = None
    if motion == "stand" and rng.random() < 0.2 and noun.realm not in ("swim", "space"):
        friends = tuple(
            n.key for n in nouns if n.realm in PLACES[place].realms and n.realm not in _FREE and n.key != noun.key
        )
        companion = one(friends) if friends else None
    colour = one(tuple(COLOURS)) if noun.colours and rng.random() < 0.5 else None
    return Facts(
        noun=noun.key,
        colour=colour,
        companion=companion,
        place=place,
        time=time,
        motion=motion,
        camera=camera,
        weather=weather,
    )


def _film(
    facts: Facts, size: int, n_frames: int, fps: int, rng: np.random.Generator, variety: float | int = 1.0
) -> tuple[UInt8[np.ndarray, "F H W 3"], UInt8[np.ndarray, "F H W"]]:
    """Frames, and what of them the thing covers.

    Drawn on a canvas twice as fine as the frames; the camera's window of it is shrunk to each frame.
    """
    height = 2 * size

    def within(low: float, high: float) -> float:
        return variety * float(rng.uniform(low, high)) + (1 - variety) * (low + high) / 2

    noun, place, path = ALL[facts.noun], PLACES[facts.place], PATHS[facts.motion]
    background = draw_place(place, facts.time, height, rng)
    weather = Weather(facts.weather, rng)
    looks_right = path.turns > 0 if path.turns else bool(rng.random() < variety - 0.5)
    picture = sprite(noun, facts.colour, looks_right)
    tall = _height(noun, picture, within)
    rest_x = within(0.42, 0.58) if facts.companion is None else float(rng.choice([0.33, 0.67]))
    rest_y = _foot(noun, facts.place, tall, within)
    if facts.companion:
        friend = sprite(ALL[facts.companion], None, rest_x > 0.5)
        _put(background, friend, 1 - rest_x, place.ground, 0.8 * _height(ALL[facts.companion], friend, within), 0.0)
    phase = within(0.0, 6.0)
    film, thing = np.empty((n_frames, size, size, 3), np.uint8), np.empty((n_frames, size, size), np.uint8)
    outline = Image.merge("LA", (Image.new("L", picture.size, 255), picture.getchannel("A")))
    for k in range(n_frames):
        u, seconds = k / max(n_frames - 1, 1), k / fps
        x, y, factor = path.at(u, rest_x, rest_y)
        lift, tilt = _liveliness(noun, facts, seconds, phase)
        canvas = background.copy()
        _put(canvas, picture, x, y - lift, tall * factor, tilt)
        if facts.place == "sea":
            _front_wave(canvas, facts.time, seconds)
        left, top, side = camera_window(facts.camera, u, (rest_x, rest_y - tall / 2))
        x0, y0, span = height * (left + MARGIN), height * top, height * side
        window = (x0, y0, x0 + span, y0 + span)
        frame = canvas.resize((size, size), Image.Resampling.BILINEAR, box=window)
        cover = Image.new("L", canvas.size)
        _put(cover, outline, x, y - lift, tall * factor, tilt)
        thing[k] = np.asarray(cover.resize((size, size), Image.Resampling.BILINEAR, box=window))
        if facts.weather != "clear":
            weather.draw(frame, seconds)
        film[k] = np.asarray(frame)
    return film, thing


def _height(noun: Noun, picture: Image.Image, within: Within) -> float:
    """The thing's height in frame units: its usual one, a little varied, and never so wide that it leaves the frame."""
    return min(noun.size * within(0.9, 1.15), 0.72 * picture.height / picture.width)


def _foot(noun: Noun, place: str, tall: float, within: Within) -> float:
    """The y on which the thing rests: the ground, or somewhere in the air or the water."""
    if place == "space" or noun.realm in _FREE or place == "underwater":
        if place == "sea" and noun.realm == "swim":
            return 0.84
        return within(0.42, 0.56 if place != "underwater" else 0.66) + tall / 2
    return PLACES[place].ground + within(0.0, 0.05)


def _liveliness(noun: Noun, facts: Facts, seconds: float, phase: float) -> tuple[float, float]:
    """A lift in frame units and a tilt in degrees: boats rock, walkers hop, flyers sway."""
    wave = math.sin(4 * seconds + phase)
    if noun.realm in ("water", "swim") or noun.realm in _FREE:
        return 0.015 * wave, 4 * math.cos(4 * seconds + phase) if noun.realm == "water" else 0.0
    if facts.motion.startswith(("cross", "enter", "leave")) and noun.realm in ("land", "person"):
        return 0.025 * abs(math.sin(7 * seconds)), 0.0
    return 0.0, 0.0


def _put(canvas: Image.Image, picture: Image.Image, x: float, y: float, tall: float, tilt: float) -> None:
    """Pastes `picture` with its foot's middle at (x, y) and a height of `tall`, all in frame units."""
    height = canvas.height
    rows = max(2, round(tall * height))
    small = picture.resize(
        (max(2, round(rows * picture.width / picture.height)), rows), Image.Resampling.BILINEAR, reducing_gap=1.5
    )
    if tilt:
        small = small.rotate(tilt, Image.Resampling.BILINEAR, center=(small.width / 2, small.height))
    canvas.paste(small, (round((x + MARGIN) * height - small.width / 2), round(y * height) - rows), small)


def _front_wave(canvas: Image.Image, time: str, seconds: float) -> None:
    """A moving wave before the thing, so that it sits in the water."""
    height = canvas.height
    xs = np.linspace(0, canvas.width, 60)
    deep = {"day": (36, 104, 172), "sunset": (66, 84, 140), "night": (28, 60, 118)}[time]
    crest = {"day": (150, 214, 240), "sunset": (214, 160, 150), "night": (78, 116, 172)}[time]
    for y, phase, colour in ((0.79, 0.0, crest), (0.802, 0.0, deep)):
        tops = height * (y + 0.014 * np.sin(xs / height * 22 + 3.2 * seconds + phase))
        points = [
            (0.0, float(height)),
            *zip(xs.tolist(), tops.tolist(), strict=True),
            (float(canvas.width), float(height)),
        ]
        ImageDraw.Draw(canvas).polygon(points, fill=colour)


class StoryClips:
    """Clip i of a split, a pure function of (seed, i), endless."""

    def __init__(
        self,
        seed: int = 0,
        split: Split = "train",
        *,
        size: int = 64,
        frames: int = 33,
        fps: int = 8,
        nouns: tuple[str, ...] = CORE_NOUNS,
        variety: float | int = 1.0,
    ) -> None:
        find_nouns(nouns)
        self.seed, self.split = seed, split
        self.draw = partial(clip, split=split, size=size, frames=frames, fps=fps, nouns=nouns, variety=variety)

    def __getitem__(self, index: int) -> StoryClip:
        return self.draw(self.seed * 2**40 + index)
