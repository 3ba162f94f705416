"""How loud sound is: integrated loudness and true peak (ITU-R BS.1770-4).

Axes: C channels, L samples.
"""

import math
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy import ndarray

BLOCK = 0.4  # seconds
GATE = -70.0  # LUFS; quieter blocks are not heard,
RELATIVE_GATE = 10.0  # dB; nor those so much quieter than the rest
WEIGHTS = (1.0, 1.0, 1.0, 1.41, 1.41)  # left, right, centre, surround left and right


def decibels(amplitude: float) -> float:
    """20 log10 of an amplitude; silence is -inf."""
    return 20 * math.log10(amplitude) if amplitude > 0 else -math.inf


def integrated_loudness(samples: Float[ndarray, "C L"], rate: int) -> float:
    """Gated loudness in LUFS; silence is -inf. Under one 400 ms block, silence is added up to it.

    Raises:
        ValueError: more channels than 5.1.
    """
    return loudness_of_blocks([samples], rate)


def loudness_of_blocks(blocks: Iterable[Float[ndarray, "C _"]], rate: int) -> float:
    """The same of a sound in pieces, which are held one at a time: one number stays of every tenth of a second."""
    if rate < 8000:  # the weighting filters need room below half the rate
        blocks, rate = _at_8_khz(blocks, rate), 8000
    energies = _energies(_weighted(blocks, rate), rate)
    heard = energies[_lufs(energies) >= GATE]
    if heard.size:
        heard = heard[_lufs(heard) > max(_lufs(heard.mean()) - RELATIVE_GATE, GATE)]
    return float(_lufs(heard.mean())) if heard.size else -math.inf


def _lufs(energy: Any) -> Any:
    with np.errstate(divide="ignore"):
        return -0.691 + 10 * np.log10(energy)


def _at_8_khz(blocks: Iterable[ndarray], rate: int) -> Iterator[ndarray]:
    from nexus.media.audio_blocks import resampled

    iterator = iter(blocks)
    if (first := next(iterator, None)) is not None:
        yield from resampled(chain([first], iterator), rate, 8000, len(first))


def _weighted(blocks: Iterable[ndarray], rate: int) -> Iterator[Float[ndarray, " L"]]:
    """Power of all channels together, each K-weighted; as long as one block at least."""
    from pyloudnorm import IIRfilter
    from scipy.signal import lfilter

    shelf = IIRfilter(4.0, math.sqrt(0.5), 1500.0, rate, "high_shelf")
    high_pass = IIRfilter(0.0, 0.5, 38.0, rate, "high_pass")
    least = math.ceil(BLOCK * rate) + 1
    states, n, channels = [np.zeros((1, 2))] * 2, 0, 1

    def weigh(samples: ndarray) -> ndarray:
        x = samples.astype(np.float64)
        for i, stage in enumerate((shelf, high_pass)):
            x, states[i] = lfilter(stage.b, stage.a, x, axis=1, zi=np.broadcast_to(states[i], (len(x), 2)))
        return np.array(WEIGHTS[: len(x)]) @ np.square(x)

    for block in blocks:
        if len(block) == 6:  # BS.1770 leaves the low-frequency channel of 5.1 out
            block = np.delete(block, 3, axis=0)
        if len(block) > 5:
            raise ValueError(f"loudness is defined for up to 5.1 channels, got {len(block)}; use to_channels(2) first")
        n, channels = n + block.shape[1], len(block)
        if block.shape[1]:  # of nothing scipy returns a state that is not set
            yield weigh(block)
    if n < least:
        yield weigh(np.zeros((channels, least - n)))


def _energies(power: Iterable[Float[ndarray, " _"]], rate: int) -> Float[ndarray, " N"]:
    """Mean power of each block of 0.4 s; one begins every tenth of a second, and the last may reach beyond the end."""
    waiting, start, n, found = np.zeros(0), 0, 0, []

    def bound(j: int, end: int) -> int:
        return int(BLOCK * (j / 4 + end) * rate)

    for part in power:
        waiting, n = np.concatenate([waiting, part]), n + len(part)
        while bound(len(found), 1) <= n:
            found.append(waiting[bound(len(found), 0) - start : bound(len(found), 1) - start].sum())
        waiting, start = waiting[bound(len(found), 0) - start :], bound(len(found), 0)
    if round((n / rate - BLOCK) / (BLOCK / 4)) + 1 > len(found):
        found.append(waiting.sum())
    return np.array(found) / (BLOCK * rate)


def true_peak(samples: Float[ndarray, "C L"], rate: int) -> float:
    """Peak of the four times oversampled waveform in dBTP; silence is -inf."""
    import soxr

    if not samples.size:
        return -math.inf
    fine = soxr.resample(samples.T.astype(np.float64), rate, 4 * rate, quality="VHQ")
    return decibels(max(float(np.abs(fine).max(initial=0)), float(np.abs(samples).max())))
