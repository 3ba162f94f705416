"""How loud sound is: integrated loudness and true peak (ITU-R BS.1770-4).

Axes: C channels, L samples.
"""

import math
import warnings

import numpy as np
from jaxtyping import Float
from numpy import ndarray

BLOCK = 0.4  # seconds


def decibels(amplitude: float) -> float:
    """20 log10 of an amplitude; silence is -inf."""
    return 20 * math.log10(amplitude) if amplitude > 0 else -math.inf


def integrated_loudness(samples: Float[ndarray, "C L"], rate: int) -> float:
    """Gated loudness in LUFS; silence is -inf. Under one 400 ms block, silence is added up to it."""
    import pyloudnorm
    import soxr

    if not samples.size or not samples.any():
        return -math.inf
    if len(samples) == 6:  # BS.1770 leaves the low-frequency channel of 5.1 out
        samples = np.delete(samples, 3, axis=0)
    if len(samples) > 5:
        raise ValueError(f"loudness is defined for up to 5.1 channels, got {len(samples)}; use to_channels(2) first")
    signal = samples.T.astype(np.float64)
    if rate < 8000:  # the weighting filters need room below half the rate
        signal, rate = soxr.resample(signal, rate, 8000), 8000
    missing = math.ceil(BLOCK * rate) + 1 - len(signal)
    if missing > 0:
        signal = np.pad(signal, ((0, missing), (0, 0)))
    with np.errstate(divide="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # every block below the gate: the mean of nothing
        loudness = float(pyloudnorm.Meter(rate, block_size=BLOCK).integrated_loudness(signal))
    return -math.inf if math.isnan(loudness) else loudness


def true_peak(samples: Float[ndarray, "C L"], rate: int) -> float:
    """Peak of the four times oversampled waveform in dBTP; silence is -inf."""
    import soxr

    if not samples.size:
        return -math.inf
    fine = soxr.resample(samples.T.astype(np.float64), rate, 4 * rate, quality="VHQ")
    return decibels(max(float(np.abs(fine).max(initial=0)), float(np.abs(samples).max())))
