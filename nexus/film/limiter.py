"""A look-ahead true-peak limiter (ITU-R BS.1770-4, annex 2), over the whole sound at once.

Axes: C channels, L samples.
"""

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from scipy.ndimage import minimum_filter1d

ATTACK = 0.005  # seconds over which the gain falls before a peak and rises after it
HOLD = 0.050  # seconds for which it stays low after a peak


def limit(
    samples: Float[ndarray, "C L"], peaks: Float[ndarray, " L"], rate: int, ceiling_db: float
) -> Float[ndarray, "C L"]:
    """The samples with a smooth gain, one for all channels, that keeps the true peak under the ceiling.

    peaks: their `peak_envelope`, which may be scaled along with them. The gain falls before a peak comes: it is the
    lowest gain needed nearby, averaged over a window that the neighbourhood covers, so the average is never above
    what the peak itself needs.
    """
    if not samples.shape[1]:
        return samples
    ceiling = 10 ** (ceiling_db / 20)
    needed = np.minimum(1.0, ceiling / np.maximum(peaks, 1e-12))
    if needed.min() >= 1:
        return samples
    half, hold = round(ATTACK * rate / 2) + 1, round(HOLD * rate)
    ahead = minimum_filter1d(needed, 2 * half + 1, mode="constant", cval=1.0)
    held = minimum_filter1d(ahead, hold + 1, origin=hold // 2, mode="constant", cval=1.0)
    window = np.hanning(2 * half + 3)[1:-1]
    smooth = np.convolve(np.pad(held, half, mode="edge"), window / window.sum(), mode="valid")
    return samples * smooth


def peak_envelope(samples: Float[ndarray, "C L"], rate: int) -> Float[ndarray, " L"]:
    """At each sample the highest peak of any channel within half a sample, of the waveform oversampled four times."""
    import soxr

    length = samples.shape[1]
    fine = np.abs(soxr.resample(samples.T, rate, 4 * rate, quality="VHQ")).max(axis=1)
    fine = np.pad(fine, (2, max(0, 4 * length + 2 - len(fine))))[: 4 * length + 4]  # quarter i is now at i + 2
    near = np.stack([fine[shift : shift + 4 * length : 4] for shift in range(5)]).max(axis=0)
    return np.maximum(near, np.abs(samples).max(axis=0))
