"""How alike two voices are to WavLM (arXiv:2110.13900) with its x-vector head (`microsoft/wavlm-base-plus-sv`)."""

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray

from nexus.media import Audio
from nexus.metrics.judge import Judge, Measure, Sample, Verdict, digest, version
from nexus.metrics.judge_weights import from_folder, judge_weights

RATE = 16_000
JUDGE, FOLDER, SOURCE = "WavLM-SV", "wavlm-base-plus-sv", "microsoft/wavlm-base-plus-sv"
NAME = "speaker similarity (WavLM-SV)"
SHORTEST = 0.5  # seconds; shorter sounds leave no frame to the head


class WavLMSpeaker:
    """x-vectors on the CPU, as `transformers` computes them.

    Raises:
        MissingJudge: the weights are not there.
    """

    def __init__(self):
        from transformers import Wav2Vec2FeatureExtractor, WavLMForXVector

        self.weights = judge_weights(JUDGE, FOLDER, SOURCE)
        self._network, self._prepare = from_folder(
            WavLMForXVector, self.weights.parent, JUDGE, Wav2Vec2FeatureExtractor
        )

    @torch.no_grad()
    def embed(self, audio: Audio) -> Float[ndarray, " D"]:
        """One vector of unit norm.

        Raises:
            ValueError: under half a second of sound.
        """
        if audio.seconds < SHORTEST:
            raise ValueError(f"a voice of {SHORTEST:g} s is needed, got {audio.seconds:.2f} s")
        samples = audio.mono().resample(RATE).samples[0]
        inputs = self._prepare(samples, sampling_rate=RATE, return_tensors="pt")
        vector = self._network(inputs.input_values).embeddings[0].numpy().astype(np.float64)
        return vector / max(float(np.linalg.norm(vector)), 1e-12)

    def similarity(self, a: Audio, b: Audio) -> float:
        """Cosine of the two, -1 to 1; its authors call 0.86 and more the same speaker."""
        return float(self.embed(a) @ self.embed(b))


def wavlm_judge() -> Judge:
    """Raises MissingJudge."""
    speaker = WavLMSpeaker()

    def values(sample: Sample) -> Verdict:
        assert sample.voice is not None
        try:
            return Verdict(values={NAME: speaker.similarity(sample.made, sample.voice)})
        except ValueError as error:
            return Verdict(values={NAME: float("nan")}, note=f"{JUDGE}: {error}")

    return Judge(
        name=JUDGE, version=version("transformers"), weights=digest(speaker.weights), rate=RATE,
        measures=(Measure(name=NAME),), values=values, needs=("voice",),
    )  # fmt: skip
