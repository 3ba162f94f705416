"""Short-time objective intelligibility (Taal et al., 2011) by the package `pystoi`."""

import warnings

from nexus.media import Audio
from nexus.metrics.aligned import aligned
from nexus.metrics.judge import Judge, Measure, Sample, Verdict, need, version

RATE = 10_000


def stoi(made: Audio, reference: Audio) -> float:
    """Correlation of short envelopes in third octaves, about 0 (nothing understood) to 1.

    Raises:
        MissingJudge: the package is not installed.
        ValueError: under 0.4 s of speech, or not the same moments.
    """
    package = need("pystoi", "STOI")
    degraded, clean = aligned(made, reference, RATE)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            return float(package.stoi(clean, degraded, RATE))
        except (RuntimeWarning, ValueError) as warning:  # it would return 1e-5 instead, or fail on no frames at all
            raise ValueError(f"STOI needs 0.4 s of speech ({str(warning)[:60]})") from None


def stoi_judge() -> Judge:
    """Raises MissingJudge."""
    need("pystoi", "STOI")

    def values(sample: Sample) -> Verdict:
        assert sample.reference is not None
        try:
            return Verdict(values={"STOI": stoi(sample.made, sample.reference)})
        except ValueError as error:
            return Verdict(values={"STOI": float("nan")}, note=f"STOI: {error}")

    measures = (Measure(name="STOI"),)
    return Judge(
        name="STOI", version=version("pystoi"), measures=measures, values=values, rate=RATE, needs=("reference",)
    )
