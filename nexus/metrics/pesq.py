"""Perceptual evaluation of speech quality, wide band (ITU-T P.862.2), by the package `pesq`."""

from nexus.media import Audio
from nexus.metrics.aligned import aligned
from nexus.metrics.judge import Judge, Measure, Sample, Verdict, need, version

RATE = 16_000


def pesq(made: Audio, reference: Audio) -> float:
    """Mean opinion score as P.862.2 predicts it, 1.04 to 4.64.

    Raises:
        MissingJudge: the package is not installed.
        ValueError: under a quarter of a second, silence, no speech to be heard, or not the same moments.
    """
    package = need("pesq", "PESQ")
    degraded, clean = aligned(made, reference, RATE)
    for what, samples in (("what was made", degraded), ("the reference", clean)):
        if not samples.any():
            raise ValueError(f"{what} is silent")
    try:
        return float(package.pesq(RATE, clean.astype("float32"), degraded.astype("float32"), "wb"))
    except (package.BufferTooShortError, package.NoUtterancesError) as error:
        said = error.args[0] if error.args else error
        raise ValueError(said.decode() if isinstance(said, bytes) else str(said)) from error


def pesq_judge() -> Judge:
    """Raises MissingJudge."""
    need("pesq", "PESQ")

    def values(sample: Sample) -> Verdict:
        assert sample.reference is not None
        try:
            return Verdict(values={"PESQ": pesq(sample.made, sample.reference)})
        except ValueError as error:
            return Verdict(values={"PESQ": float("nan")}, note=f"PESQ: {error}")

    measures = (Measure(name="PESQ"),)
    return Judge(
        name="PESQ wide band", version=version("pesq"), measures=measures, values=values, rate=RATE,
        needs=("reference",),
    )  # fmt: skip
