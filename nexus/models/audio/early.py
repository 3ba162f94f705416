"""The beginning of a text, heard while the rest is made: where a sentence is cut, and how its parts are joined.

A part is made from the voice and the parts before it, as infilling is taught, and a little beyond its end, so that its
last sound knows what follows; what lies beyond is made again with the next part.

Axes: L waveform samples, T frames of a sentence.
"""

from collections.abc import Collection, Sequence

import numpy as np

from nexus.media.audio import Audio

FIRST = 0.6  # seconds, about what the first part lasts
LONGEST_FIRST = 2 * FIRST  # the most it lasts, so that a sentence of this length is not cut
FIRST_STEPS = 6  # of the first part's sampling
FIRST_VOICE = 1.2  # seconds of the voice's end that it is made from
GROWTH = 3.0  # how much longer than all that was heard before it a part may be, since it is made while that sounds
BEYOND = 0.18  # seconds made beyond the end of a part
FADE = 0.01  # seconds in which one part passes into the next


def ends_of_parts(symbols: Sequence[int], breaks: Collection[int], frame_rate: float, heard: float = 0.0) -> list[int]:
    """The frames at which the parts of a sentence end, the last its length; always where a new word begins.

    Args:
        symbols: what sounds in each frame.
        breaks: the symbols between words.
        frame_rate: frames a second.
        heard: seconds of sound that came before the sentence.
    """
    n = len(symbols)
    words = [i for i in range(1, n) if symbols[i - 1] in breaks and symbols[i] not in breaks]
    ends: list[int] = []
    while True:
        start = ends[-1] if ends else 0
        before = heard + start / frame_rate
        most = start + round((GROWTH * before if before else LONGEST_FIRST) * frame_rate)
        wanted = start + round((GROWTH * before if before else FIRST) * frame_rate)
        least = start + round(FIRST / 2 * frame_rate)
        there = [word for word in words if least <= word <= min(most, n - round(FIRST / 2 * frame_rate))]
        if n <= most or not there:
            return [*ends, n]
        ends.append(min(there, key=lambda word: abs(word - wanted)))


def joined(before: Audio, after: Audio, start: int, end: int, gains: tuple[float, float]) -> Audio:
    """Samples `start` to `end` of `after`, passing from `before`, both from the sentence's first sample on.

    `before` reaches beyond `start`. The factor of loudness goes from the first of `gains` to the second meanwhile.
    """
    samples = after.samples[:, start:end].copy()
    n = min(round(FADE * after.rate), before.length - start, samples.shape[1])
    weight = np.linspace(0, 1, n, dtype=np.float32)
    samples[:, :n] = (1 - weight) * before.samples[:, start : start + n] + weight * samples[:, :n]
    ramp = np.full(samples.shape[1], gains[1], dtype=np.float32)
    n = min(10 * n, len(ramp))
    ramp[:n] = np.linspace(*gains, n)
    return Audio(samples * ramp, after.rate)
