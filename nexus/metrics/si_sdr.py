"""Scale-invariant signal-to-distortion ratio (Le Roux et al., arXiv:1811.02508, equation 5)."""

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from nexus.metrics.aligned import aligned
from nexus.metrics.judge import Judge, Measure, Sample, Verdict

HIGHEST = 100.0  # dB, for a sound that is the reference's multiple


def si_sdr(made: Float[ndarray, " L"], reference: Float[ndarray, " N"]) -> float:
    """In dB: the energy of the reference's share in `made` over that of the rest; -100 to 100.

    Means are taken off first, as in the paper's code.

    Raises:
        ValueError: a silent reference, of which nothing can be a share, or unequal lengths.
    """
    if made.shape != reference.shape:
        raise ValueError(f"need equal lengths, got {len(made)} and {len(reference)} samples")
    made, reference = made - made.mean(), reference - reference.mean()
    energy = float(reference @ reference)
    if energy == 0:
        raise ValueError("the reference is silent")
    share = (made @ reference) / energy * reference
    rest = made - share
    kept, lost = float(share @ share), float(rest @ rest)
    if kept == lost == 0:
        return -HIGHEST  # silence holds nothing of the reference
    least = 10 ** (-HIGHEST / 10)
    return float(10 * np.log10(max(kept, least * lost) / max(lost, least * kept)))


def si_sdr_judge() -> Judge:
    def values(sample: Sample) -> Verdict:
        assert sample.reference is not None
        try:
            return Verdict(values={"SI-SDR": si_sdr(*aligned(sample.made, sample.reference))})
        except ValueError as error:
            return Verdict(values={"SI-SDR": float("nan")}, note=f"SI-SDR: {error}")

    measures = (Measure(name="SI-SDR", unit="dB"),)
    return Judge(name="SI-SDR", version="nexus 1", measures=measures, values=values, needs=("reference",))
