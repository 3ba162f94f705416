"""Animated GIF through Pillow. Its clock ticks in hundredths of a second; frames are held so that no error adds up."""

import warnings
from fractions import Fraction

import numpy as np
from jaxtyping import UInt8
from numpy import ndarray

from nexus.media.clock import sample_at
from nexus.media.io import PathLike, atomic, recognise

TICKS = 100  # a second
FASTEST = 50  # frames a second that viewers still honour


def write_gif(path: PathLike, frames: UInt8[ndarray, "F H W 3"], fps: Fraction) -> None:
    """Writes frames with one palette each, looping; the file appears whole or not at all."""
    import PIL.Image

    if fps > FASTEST:
        raise ValueError(f"a GIF shows up to {FASTEST} frames a second, got {fps}; .mp4 shows more")
    pictures = [PIL.Image.fromarray(frame) for frame in frames]
    held = [
        10 * (sample_at(i + 1, fps, TICKS) - sample_at(i, fps, TICKS)) for i in range(len(pictures))
    ]  # milliseconds
    with atomic(path) as temporary:
        pictures[0].save(temporary, save_all=True, append_images=pictures[1:], duration=held, loop=0, optimize=False)


def read_gif(path: PathLike) -> tuple[UInt8[ndarray, "F H W 3"], Fraction]:
    """Frames and their rate; frames held for several periods are repeated.

    Raises:
        ValueError: the file is damaged, cut short, or not a GIF.
    """
    import PIL.Image
    import PIL.ImageSequence

    recognise(path, (".gif",))
    pictures, ends, tick = [], [], 0
    try:
        with warnings.catch_warnings(), PIL.Image.open(path) as source:
            warnings.simplefilter("error", PIL.Image.DecompressionBombWarning)
            for picture in PIL.ImageSequence.Iterator(source):
                pictures.append(np.asarray(picture.convert("RGB")))
                tick += max(1, round(picture.info.get("duration", 100) / 10))
                ends.append(tick)
    except Exception as error:  # Pillow meets damage with errors of many kinds
        raise ValueError(f"{path} is damaged: {error}") from error
    if not _ends_with_trailer(path):
        raise ValueError(f"{path} is damaged: it ends before its last frame")
    fps = _rate(ends)
    counts = np.diff([0, *(max(i + 1, round(end * fps / TICKS)) for i, end in enumerate(ends))])
    return np.repeat(np.stack(pictures), np.maximum(counts, 1), axis=0), fps


def _ends_with_trailer(path: PathLike) -> bool:
    with open(path, "rb") as file:
        file.seek(-2, 2)
        return b";" in file.read()


def _rate(ends: list[int]) -> Fraction:
    """The first multiple of a half on whose clock every frame ends, else the mean rate (a still lasts one period)."""
    for halves in range(2, 2 * FASTEST + 1):
        rate = Fraction(halves, 2)
        if all(sample_at(max(round(end * rate / TICKS), 1), rate, TICKS) == end for end in ends):
            return rate
    return Fraction(len(ends) * TICKS, ends[-1])
