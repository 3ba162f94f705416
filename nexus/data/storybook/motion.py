"""How things and cameras move: functions of u in [0, 1], the share of the clip that has passed.

Positions are frame units (see `backgrounds`): x, y of a thing's middle foot, and the factor on its size.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Path:
    """A motion of one thing: `at(u, rest_x, rest_y)` gives (x, y, size factor)."""

    at: Callable[[float, float, float], tuple[float, float, float]]
    turns: int = 0  # the way it looks: -1 left, 1 right, 0 either


def _ease(u: float) -> float:
    """Slows down towards u = 1."""
    return 1 - (1 - min(u, 1.0)) ** 2


def _enter(start: float) -> Callable[[float, float, float], tuple[float, float, float]]:
    return lambda u, x, y: (start + (x - start) * _ease(u / 0.75), y, 1.0)


def _leave(end: float) -> Callable[[float, float, float], tuple[float, float, float]]:
    return lambda u, x, y: (x + (end - x) * max(0.0, (u - 0.15) / 0.85) ** 1.5, y, 1.0)


PATHS: dict[str, Path] = {
    "stand": Path(lambda u, x, y: (x, y, 1.0)),
    "enter_left": Path(_enter(-0.3), turns=1),
    "enter_right": Path(_enter(1.3), turns=-1),
    "leave_left": Path(_leave(-0.35), turns=-1),
    "leave_right": Path(_leave(1.35), turns=1),
    "cross_right": Path(lambda u, x, y: (-0.22 + 1.44 * u, y, 1.0), turns=1),
    "cross_left": Path(lambda u, x, y: (1.22 - 1.44 * u, y, 1.0), turns=-1),
    "rise": Path(lambda u, x, y: (x, 1.25 - 0.75 * u, 1.0)),
    "fall": Path(lambda u, x, y: (x, y - (y + 0.05) * (1 - min(u / 0.8, 1.0)) ** 1.3, 1.0)),
    "bounce": Path(lambda u, x, y: (x, y - 0.3 * abs(math.sin(3 * math.pi * u)), 1.0)),
    "circle": Path(
        lambda u, x, y: (0.5 + 0.24 * math.sin(2 * math.pi * u), 0.66 - 0.16 * math.cos(2 * math.pi * u), 0.8)
    ),
    "grow": Path(lambda u, x, y: (x, y, 0.45 + 0.75 * u)),
    "shrink": Path(lambda u, x, y: (x, y, 1.2 - 0.75 * u)),
}

_CROSS = ("cross_right", "cross_left")
_ENTER = ("enter_left", "enter_right")
_LEAVE = ("leave_left", "leave_right")

# What each realm can do, likelier ones repeated.
REALM_PATHS: dict[str, tuple[str, ...]] = {
    "fixed": ("stand", "stand", "stand", "stand", "grow", "shrink"),
    "thing": ("stand", "stand", *_CROSS, "fall", "bounce", "grow", "shrink", "rise"),
    "person": ("stand", "stand", *_CROSS, *_ENTER, *_LEAVE, "grow"),
    "land": ("stand", *_CROSS, *_ENTER, *_LEAVE, "bounce"),
    "water": ("stand", *_CROSS, *_CROSS, *_ENTER, *_LEAVE),
    "swim": ("stand", *_CROSS, *_ENTER, "circle", "rise"),
    "air": ("stand", *_CROSS, *_CROSS, *_ENTER, "circle", "rise", "fall"),
    "space": ("stand", *_CROSS, "rise", "circle", "grow", "shrink"),
}

CAMERAS = ("still", "pan_left", "pan_right", "zoom_in", "zoom_out")


def camera_window(camera: str, u: float, focus: tuple[float, float]) -> tuple[float, float, float]:
    """What the camera sees at u: left edge, top edge and side of a square, frame units; zooms look at `focus`."""
    if camera.startswith("pan"):
        way = 1 if camera == "pan_right" else -1
        return way * 0.5 * (u - 0.5), 0.0, 1.0
    if camera.startswith("zoom"):
        side = 1 - 0.4 * (u if camera == "zoom_in" else 1 - u)
        left, top = (min(max(c - side / 2, 0.0), 1 - side) for c in focus)
        return left, top, side
    return 0.0, 0.0, 1.0
