"""Plain English that says what a clip shows, in varied words."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nexus.data.storybook.backgrounds import PLACES
from nexus.data.storybook.nouns import ALL, Noun


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What a clip shows, in keys of the storybook world."""

    noun: str
    colour: str | None
    companion: str | None  # a second, still thing
    place: str
    time: str  # day, sunset, night
    motion: str
    camera: str
    weather: str


_REST = {
    "fixed": ("stands",),
    "thing": ("is", "stands"),
    "person": ("stands", "waits"),
    "land": ("stands", "is"),
    "water": ("floats", "rests"),
    "swim": ("floats", "stays still"),
    "air": ("hovers", "flies in place"),
    "space": ("floats", "hangs"),
}
_CAMERA = {
    "pan_left": ("camera pans left", "the camera moves to the left"),
    "pan_right": ("camera pans right", "the camera moves to the right"),
    "zoom_in": ("camera zooms in", "the camera comes closer"),
    "zoom_out": ("camera zooms out", "the camera moves away"),
}
_WEATHER = {
    "rain": ("in the rain", "rain falls", "it rains"),
    "snow": ("snow falls", "it snows", "in falling snow"),
    "stars": ("stars twinkle", "under twinkling stars"),
}
_TIME = {
    "day": ("by day", "in bright daylight"),
    "sunset": ("at sunset", "under a sunset sky"),
    "night": ("at night", "under the night sky"),
}


def _article(words: str) -> str:
    return ("an " if words[0] in "aeio" or words.startswith("umb") else "a ") + words


def _deed(noun: Noun, motion: str) -> tuple[str, ...]:
    verb = noun.verb
    return {
        "stand": _REST[noun.realm],
        "enter_left": ("comes in from the left", f"{verb} in from the left"),
        "enter_right": ("comes in from the right", f"{verb} in from the right"),
        "leave_left": ("leaves to the left", f"{verb} away to the left"),
        "leave_right": ("leaves to the right", f"{verb} away to the right"),
        "cross_right": (f"{verb} from left to right", "crosses from left to right", f"{verb} to the right"),
        "cross_left": (f"{verb} from right to left", "crosses from right to left", f"{verb} to the left"),
        "rise": ("rises", "goes up"),
        "fall": ("falls", "comes down from above"),
        "bounce": ("bounces", "jumps up and down"),
        "circle": (f"{verb} in a circle", "moves in circles"),
        "grow": ("grows", "gets bigger"),
        "shrink": ("shrinks", "gets smaller"),
    }[motion]


def caption(facts: Facts, rng: np.random.Generator) -> str:
    """One of many ways to say `facts`; everything that can be seen is said, save that a plain day may go unsaid."""

    def one(options: Sequence[str]) -> str:
        return options[int(rng.integers(len(options)))]

    noun, place = ALL[facts.noun], PLACES[facts.place]
    name = noun.key if rng.random() < 0.7 else one(noun.names)
    subject = _article(f"{facts.colour} {name}" if facts.colour else name)
    deed = one(_deed(noun, facts.motion))
    where = one(place.phrases)
    if facts.noun == "lighthouse" and facts.motion == "stand" and rng.random() < 0.6:
        deed, where = "stands on a rock", one(("waves below", where)) if facts.place == "sea" else where
        text = f"{subject} {deed}, {where}" if where == "waves below" else f"{subject} {deed} {where}"
    elif facts.place == "sea" and facts.motion.startswith("cross") and rng.random() < 0.4:
        text = f"{subject} crosses the sea from {'left to right' if facts.motion == 'cross_right' else 'right to left'}"
    elif rng.random() < 0.15:
        text = f"{where}, there is {subject}" if deed == "is" else f"{where}, {subject} {deed}"
    else:
        text = f"{subject} {deed} {where}"
    if facts.companion:
        text += one((", beside ", ", next to ", ", with ")) + _article(facts.companion)
    if len(place.times) > 1 and (facts.time != "day" or rng.random() < 0.2):
        text += (" " if rng.random() < 0.6 else ", ") + one(_TIME[facts.time])
    for table, key in ((_WEATHER, facts.weather), (_CAMERA, facts.camera)):
        if key in table:
            text += ", " + one(table[key])
    return text
