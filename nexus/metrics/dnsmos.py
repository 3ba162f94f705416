"""DNSMOS P.835 (arXiv:2110.01763): opinion scores of speech without a reference, by the package `speechmos`."""

import importlib.util
from pathlib import Path

import numpy as np

from nexus.media import Audio
from nexus.metrics.judge import Judge, Measure, Sample, Verdict, digest, need, version

RATE = 16_000
# The package's names to ours; all are 1 to 5.
NAMES = {"ovrl_mos": "DNSMOS OVRL", "sig_mos": "DNSMOS SIG", "bak_mos": "DNSMOS BAK", "p808_mos": "DNSMOS P.808"}


def dnsmos(audio: Audio) -> dict[str, float]:
    """Opinion scores of speech, background and both together; short sounds are repeated up to 9 s.

    Raises:
        MissingJudge: the package is not installed.
        ValueError: an empty sound.
    """
    package = need("speechmos.dnsmos", "DNSMOS", "speechmos")
    samples = np.clip(audio.mono().resample(RATE).samples[0], -1, 1)
    if not samples.size:
        raise ValueError("an empty sound has no quality")
    scores = package.run(samples, RATE)
    return {name: float(scores[key]) for key, name in NAMES.items()}


def dnsmos_judge() -> Judge:
    """Raises MissingJudge."""
    need("speechmos.dnsmos", "DNSMOS", "speechmos")

    def values(sample: Sample) -> Verdict:
        try:
            return Verdict(values=dnsmos(sample.made))
        except ValueError as error:
            return Verdict(values=dict.fromkeys(NAMES.values(), float("nan")), note=f"DNSMOS: {error}")

    spec = importlib.util.find_spec("speechmos")
    assert spec is not None and spec.origin is not None
    folder = Path(spec.origin).parent / "dnsmos_models"
    return Judge(
        name="DNSMOS P.835",
        version=version("speechmos"),
        weights=digest(folder / "sig_bak_ovr.onnx", folder / "model_v8.onnx"),
        rate=RATE,
        measures=tuple(Measure(name=name) for name in NAMES.values()),
        values=values,
    )
