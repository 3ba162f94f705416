"""Pitch by YIN (de Cheveigné and Kawahara, 2002): the shortest delay after which a sound is nearly itself again.

Axes: L samples, T frames, N samples of a window.
"""

import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray

THRESHOLD = 0.2  # of the normalised difference, below which a frame has a pitch
QUIET = 1e-3  # root mean square, below which it has none


def yin(
    samples: Float[ndarray, " L"],
    rate: int,
    hop_length: int,
    *,
    lowest: float = 60.0,
    highest: float = 500.0,
) -> tuple[Float[ndarray, " T"], Bool[ndarray, " T"]]:
    """Pitch in Hz around the middle of each of ceil(L / hop) frames, and where there is one; 0 elsewhere.

    Raises:
        ValueError: pitches that such samples cannot tell.
    """
    if not 0 < lowest < highest <= rate / 4:
        raise ValueError(f"pitches must be above 0 and up to a quarter of {rate} Hz, got {lowest:g} to {highest:g}")
    longest = int(rate / lowest)
    frames = _windows(samples.astype(np.float64), hop_length, 2 * longest)
    normal = _normalised(_difference(frames, longest))
    shortest = int(rate / highest)
    within = normal[:, shortest:-1]
    dip = (within < THRESHOLD) & (within <= normal[:, shortest + 1 :])
    voiced = dip.any(1) & (np.sqrt(np.mean(frames**2, axis=1)) > QUIET)
    delay = _between(normal, shortest + dip.argmax(1))
    return np.where(voiced, rate / delay, 0.0), voiced


def _windows(samples: ndarray, hop_length: int, length: int) -> Float[ndarray, "T N"]:
    n_frames = -(-len(samples) // hop_length)
    before = length // 2 - hop_length // 2
    padded = np.pad(samples, (max(before, 0), length + hop_length))[max(-before, 0) :]
    return np.lib.stride_tricks.sliding_window_view(padded, length)[: n_frames * hop_length : hop_length]


def _difference(frames: Float[ndarray, "T N"], longest: int) -> Float[ndarray, "T D"]:
    """Eq. 6: how much the first half of a window differs from what follows it by each delay, from 0 to `longest`."""
    n_fft = 1 << (3 * longest - 1).bit_length()
    first = np.fft.rfft(frames[:, :longest], n_fft)
    alike = np.fft.irfft(first.conj() * np.fft.rfft(frames, n_fft), n_fft)[:, : longest + 1]
    power = np.pad(np.cumsum(frames**2, axis=1), ((0, 0), (1, 0)))
    energy = power[:, longest:] - power[:, : longest + 1]  # of the windows that begin at each delay
    return np.maximum(energy[:, :1] + energy - 2 * alike, 0)


def _normalised(difference: Float[ndarray, "T D"]) -> Float[ndarray, "T D"]:
    """Eq. 8: over its mean at all shorter delays; 1 at none."""
    delays = np.arange(1, difference.shape[1])
    mean = np.cumsum(difference[:, 1:], axis=1) / delays
    return np.pad(difference[:, 1:] / np.maximum(mean, 1e-12), ((0, 0), (1, 0)), constant_values=1)


def _between(normal: Float[ndarray, "T D"], delay: ndarray) -> Float[ndarray, " T"]:
    """The bottom of the parabola through three neighbours."""
    rows = np.arange(len(normal))
    left, middle, right = (normal[rows, delay + step] for step in (-1, 0, 1))
    bend = left - 2 * middle + right
    return delay + np.clip(0.5 * (left - right) / np.maximum(bend, 1e-12), -1, 1)
