"""What can be measured of a film without a prompt: how it changes, how smoothly, and how near it is to another.

Consistency and smoothness follow the dimensions of VBench (arXiv:2311.17982), with the features and the predictor that
are at hand instead of DINO's and of a frame interpolation network's.

Axes: F frames, D width of the features.
"""

import numpy as np
from jaxtyping import Float, UInt8
from numpy import ndarray
from scipy.ndimage import gaussian_filter

from nexus.media import Video

SSIM_SIGMA = 1.5  # pixels, as are the constants below those of the paper (Wang et al., 2004)
SSIM_K = (0.01, 0.03)
PEAK = 255.0


def flicker(video: Video) -> float:
    """Mean absolute difference of neighbouring frames, in grey levels (0 to 255).

    Raises:
        ValueError: fewer than two frames.
    """
    return float(np.abs(np.diff(frames_of(video, 2).astype(np.int16), axis=0)).mean())


def jerkiness(video: Video) -> float:
    """Mean absolute difference of each frame to the mean of its two neighbours, in grey levels; 0 is smooth.

    Raises:
        ValueError: fewer than three frames.
    """
    frames = frames_of(video, 3).astype(np.float32)
    return float(np.abs(frames[1:-1] - (frames[:-2] + frames[2:]) / 2).mean())


def smoothness(video: Video) -> float:
    """How well the mean of its neighbours tells each frame, 0 to 1: VBench's scale, with a simpler prediction.

    Raises:
        ValueError: fewer than three frames.
    """
    return 1 - jerkiness(video) / PEAK


def consistency(features: Float[ndarray, "F D"]) -> float:
    """Whether a film shows the same from first to last: mean cosine of each frame to the first and the one before.

    Raises:
        ValueError: fewer than two frames.
    """
    if len(features) < 2:
        raise ValueError(f"consistency needs at least two frames, got {len(features)}")
    unit = features / np.linalg.norm(features, axis=1, keepdims=True).clip(min=1e-12)
    return float((unit[1:] @ unit[0] + (unit[1:] * unit[:-1]).sum(1)).mean() / 2)


def psnr(made: Video, reference: Video) -> float:
    """Peak signal-to-noise ratio over all frames, in dB; 100 where they are equal."""
    ours, theirs = same_shape(made, reference)
    error = float(np.square(ours.astype(np.float32) - theirs.astype(np.float32)).mean())
    return 100.0 if not error else min(100.0, 10 * float(np.log10(PEAK**2 / error)))


def ssim(made: Video, reference: Video) -> float:
    """Structural similarity of the grey frames, mean over all (Wang et al., 2004, Gaussian windows)."""
    x, y = (grey(frames) for frames in same_shape(made, reference))
    c1, c2 = ((k * PEAK) ** 2 for k in SSIM_K)
    mean_x, mean_y = blurred(x), blurred(y)
    var_x, var_y = blurred(x * x) - mean_x**2, blurred(y * y) - mean_y**2
    covariance = blurred(x * y) - mean_x * mean_y
    likeness = (2 * mean_x * mean_y + c1) * (2 * covariance + c2)
    return float((likeness / ((mean_x**2 + mean_y**2 + c1) * (var_x + var_y + c2))).mean())


def blurred(frames: Float[ndarray, "F H W"]) -> Float[ndarray, "F H W"]:
    """With a Gaussian window of 11 pixels in each frame, never across frames."""
    return gaussian_filter(frames, (0, SSIM_SIGMA, SSIM_SIGMA), truncate=3.5)


def grey(frames: UInt8[ndarray, "F H W 3"]) -> Float[ndarray, "F H W"]:
    """ITU-R BT.601 luma."""
    return frames.astype(np.float64) @ np.array([0.299, 0.587, 0.114])


def frames_of(video: Video, least: int) -> UInt8[ndarray, "F H W 3"]:
    if video.length < least:
        raise ValueError(f"this measure needs at least {least} frames, got {video.length}")
    return video.frames


def same_shape(made: Video, reference: Video) -> tuple[ndarray, ndarray]:
    """Raises ValueError for films of different sizes or lengths."""
    if made.frames.shape != reference.frames.shape:
        raise ValueError(f"films must be of one size and length, got {made.frames.shape} and {reference.frames.shape}")
    return made.frames, reference.frames
