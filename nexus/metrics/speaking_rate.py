"""How fast somebody speaks, against a recording of the same words; silence at both ends does not count."""

import numpy as np

from nexus.media import Audio
from nexus.metrics.judge import Judge, Measure, Sample, Verdict

FRAME = 0.02  # seconds
FLOOR = 40.0  # dB below the loudest frame
NAME = "speaking rate error"


def spoken_seconds(audio: Audio) -> float:
    """From the first to the last 20 ms that are within 40 dB of the loudest; 0 for silence."""
    samples = audio.mono().samples[0].astype(np.float64)
    size = round(FRAME * audio.rate)
    frames = samples[: len(samples) // size * size].reshape(-1, size)
    power = (frames**2).mean(1) if len(frames) else np.zeros(0)
    if not power.any():
        return 0.0
    loud = np.flatnonzero(power > power.max() * 10 ** (-FLOOR / 10))
    return float(loud[-1] + 1 - loud[0]) * size / audio.rate


def rate_error(made: Audio, reference: Audio) -> float:
    """|words a second of `made` over those of `reference` - 1| in per cent; both say the same.

    Raises:
        ValueError: one of them is silent.
    """
    ours, theirs = spoken_seconds(made), spoken_seconds(reference)
    if not ours or not theirs:
        raise ValueError(f"{'what was made' if not ours else 'the reference'} is silent")
    return 100 * abs(theirs / ours - 1)


def rate_judge() -> Judge:
    def values(sample: Sample) -> Verdict:
        assert sample.reference is not None
        try:
            return Verdict(values={NAME: rate_error(sample.made, sample.reference)})
        except ValueError as error:
            return Verdict(values={NAME: float("nan")}, note=f"speaking rate: {error}")

    measures = (Measure(name=NAME, unit="%", better="lower"),)
    return Judge(name="speaking rate", version="nexus 1", measures=measures, values=values, needs=("reference",))
