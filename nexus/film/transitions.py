"""Cuts, dissolves and fades between shots, frame by frame.

Axes: F frames, H height, W width.
"""

from collections.abc import Callable, Iterator

import numpy as np
from jaxtyping import UInt8
from numpy import ndarray

from nexus.film.timeline import Shot, Timeline, Transition


def dissolve(before: UInt8[ndarray, "F H W 3"], after: UInt8[ndarray, "F H W 3"]) -> UInt8[ndarray, "F H W 3"]:
    """F frames that turn from one shot into the next; neither is seen alone in them."""
    n = len(before)
    weight = (np.arange(1, n + 1, dtype=np.float32) / (n + 1))[:, None, None, None]
    return np.rint(before * (1 - weight) + after * weight).astype(np.uint8)


def fade_to_black(frames: UInt8[ndarray, "F H W 3"]) -> UInt8[ndarray, "F H W 3"]:
    """F frames of which the last is black."""
    n = len(frames)
    weight = (np.arange(n - 1, -1, -1, dtype=np.float32) / max(n, 1))[:, None, None, None]
    return np.rint(frames * weight).astype(np.uint8)


def fade_from_black(frames: UInt8[ndarray, "F H W 3"]) -> UInt8[ndarray, "F H W 3"]:
    """F frames of which the first is black."""
    return fade_to_black(frames[::-1])[::-1]


def assemble(
    timeline: Timeline, pictures: Callable[[Shot], UInt8[ndarray, "F H W 3"]]
) -> Iterator[UInt8[ndarray, "H W 3"]]:
    """Every frame of the film in order; `pictures(shot)` is asked for once a shot, so at most two shots are held.

    Raises:
        ValueError: a shot has another number of frames than its place.
    """
    left_over, before = None, Transition()
    for shot in timeline.shots:
        frames = pictures(shot)
        if len(frames) != shot.frames:
            raise ValueError(f"shot {shot.scene + 1} has {len(frames)} frames, and its place in the film {shot.frames}")
        frames = np.array(frames)
        if left_over is not None:
            frames[: len(left_over)] = dissolve(left_over, frames[: len(left_over)])
        frames[: before.fade_in] = fade_from_black(frames[: before.fade_in])
        first_of_end = shot.frames - shot.transition.fade_out
        frames[first_of_end:] = fade_to_black(frames[first_of_end:])
        kept = shot.frames - shot.transition.overlap
        yield from frames[:kept]
        left_over = frames[kept:] if shot.transition.overlap else None
        before = shot.transition
