"""Clips fitted to the film: pictures retimed and scaled to their shot, music looped on whole bars.

Axes: F frames, H height, W width.
"""

import re
from fractions import Fraction

import numpy as np
from jaxtyping import Float, UInt8
from numpy import ndarray
from PIL import Image as Pillow

from nexus.film.mix import fill
from nexus.media.audio import Audio
from nexus.media.video import Video

FASTEST = 1.5  # a clip is played at most so much faster than it was made; what is then left over is cut
SLOWEST = 0.5  # and at most so slowly; what is then missing is played backwards and forwards again
CROSSFADE = 0.5  # seconds between repetitions of music


def fit_video(clip: Video, frames: int, fps: Fraction, width: int, height: int) -> UInt8[ndarray, "F H W 3"]:
    """`frames` frames at `fps` that show the clip once where its length allows it, scaled to cover width x height.

    Between frames of the clip, neighbours are blended; Lanczos scales, and what sticks out is cropped evenly.
    """
    places = retimed(clip.length, clip.fps, frames, fps)
    low = np.floor(places).astype(int)
    high = np.minimum(low + 1, clip.length - 1)
    share = (places - low)[:, None, None, None]
    large = {index: _cover(clip.frames[index], width, height) for index in sorted({*low.tolist(), *high.tolist()})}
    result = np.empty((frames, height, width, 3), np.uint8)
    for k, (a, b, w) in enumerate(zip(low.tolist(), high.tolist(), share[:, 0, 0, 0].tolist(), strict=True)):
        result[k] = large[a] if w == 0 else np.rint((1 - w) * large[a].astype(np.float32) + w * large[b])
    return result


def retimed(n: int, clip_fps: Fraction, frames: int, fps: Fraction) -> Float[ndarray, " F"]:
    """Which place among the `n` frames of a clip each of `frames` frames of the film shows."""
    natural, wanted = n / clip_fps, frames / fps
    speed = min(max(float(natural / wanted), SLOWEST), FASTEST)
    steps = np.arange(frames) * float(clip_fps / fps) * speed
    if SLOWEST < speed < FASTEST:
        steps = np.linspace(0, n - 1, frames)
    if n == 1:
        return np.zeros(frames)
    folded = steps % (2 * (n - 1))
    return np.where(folded > n - 1, 2 * (n - 1) - folded, folded)


def _cover(picture: UInt8[ndarray, "h w 3"], width: int, height: int) -> UInt8[ndarray, "H W 3"]:
    h, w = picture.shape[:2]
    scale = max(width / w, height / h)
    dx, dy = (w - width / scale) / 2, (h - height / scale) / 2
    box = (dx, dy, w - dx, h - dy)
    return np.asarray(Pillow.fromarray(picture).resize((width, height), Pillow.Resampling.LANCZOS, box=box))


def fit_music(clip: Audio, prompt: str, length: int) -> Audio:
    """`length` samples; too short a clip is repeated, on whole bars where its prompt states a tempo ("80 bpm")."""
    tempo = re.search(r"(\d+(?:\.\d+)?)\s*bpm", prompt, re.IGNORECASE)
    if clip.length < length and tempo and 30 <= float(tempo[1]) <= 300:
        bar = 4 * 60 * clip.rate / float(tempo[1])
        overlap = round(CROSSFADE * clip.rate)
        bars = int((clip.length - overlap) // bar)
        if bars >= 1:
            clip = clip.cut(0, round(bars * bar) + overlap)
    fade_in, fade_out = round(0.3 * clip.rate), round(1.5 * clip.rate)
    return fill(clip, length, CROSSFADE).fade(fade_in=min(fade_in, length // 4), fade_out=min(fade_out, length // 2))
