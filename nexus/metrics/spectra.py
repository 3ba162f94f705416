"""How far apart two sounds are as spectra: the mel and multi-resolution STFT distances that codecs are taught by."""

import torch

from nexus.media import Audio
from nexus.metrics.aligned import aligned
from nexus.metrics.judge import Judge, Measure, Sample, Verdict
from nexus.process.spectral import MEL_SCALES, mel_distance, stft_distance

NAMES = ("mel distance", "multi-resolution STFT distance")


def spectral_distances(made: Audio, reference: Audio) -> tuple[float, float]:
    """Mean L1 distance of natural-log mels, and spectral convergence + L1 of log magnitudes; both 0 for equal sounds.

    Raises:
        ValueError: shorter than the longest window, or not the same moments.
    """
    a, b = (torch.from_numpy(x).float()[None, None] for x in aligned(made, reference))
    if a.shape[-1] <= MEL_SCALES[0][0]:
        raise ValueError(f"needs over {MEL_SCALES[0][0]} samples, got {a.shape[-1]}")
    return float(mel_distance(a, b, reference.rate)), float(stft_distance(a, b))


def spectra_judge() -> Judge:
    def values(sample: Sample) -> Verdict:
        assert sample.reference is not None
        try:
            found = spectral_distances(sample.made, sample.reference)
            return Verdict(values=dict(zip(NAMES, found, strict=True)))
        except ValueError as error:
            return Verdict(values=dict.fromkeys(NAMES, float("nan")), note=f"spectra: {error}")

    measures = tuple(Measure(name=name, better="lower") for name in NAMES)
    return Judge(name="spectra", version="nexus 1", measures=measures, values=values, needs=("reference",))
