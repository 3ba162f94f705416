"""How alike two voices are: embeddings of speakers (arXiv:1710.10467) by the package `Resemblyzer`."""

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from nexus.media import Audio
from nexus.metrics.judge import Judge, Measure, Sample, Verdict, digest, need, package_file, version

RATE = 16_000
NAME = "speaker similarity"


class SpeakerEncoder:
    """Resemblyzer's encoder on the CPU, on sounds as they are (its trimming of silence is not used).

    Raises:
        MissingJudge: the package is not installed.
    """

    def __init__(self):
        need("webrtcvad", "Resemblyzer", "webrtcvad-wheels")
        self._encoder = need("resemblyzer", "Resemblyzer", "Resemblyzer").VoiceEncoder("cpu", verbose=False)

    def embed(self, audio: Audio) -> Float[ndarray, " D"]:
        """256 numbers of unit norm.

        Raises:
            ValueError: an empty sound.
        """
        samples = audio.mono().resample(RATE).samples[0]
        if not samples.size:
            raise ValueError("an empty sound has no voice")
        return self._encoder.embed_utterance(np.ascontiguousarray(samples))

    def similarity(self, a: Audio, b: Audio) -> float:
        """Cosine of the two embeddings, 0 to 1."""
        return float(self.embed(a) @ self.embed(b))


def speaker_judge() -> Judge:
    """Raises MissingJudge."""
    encoder = SpeakerEncoder()

    def values(sample: Sample) -> Verdict:
        assert sample.voice is not None
        try:
            return Verdict(values={NAME: encoder.similarity(sample.made, sample.voice)})
        except ValueError as error:
            return Verdict(values={NAME: float("nan")}, note=f"speaker: {error}")

    return Judge(
        name="Resemblyzer",
        version=version("Resemblyzer"),
        weights=digest(package_file("resemblyzer", "pretrained.pt", "Resemblyzer")),
        rate=RATE,
        measures=(Measure(name=NAME),),
        values=values,
        needs=("voice",),
    )
