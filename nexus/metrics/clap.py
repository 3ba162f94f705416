"""How well a sound fits its caption, and what it sounds like, to CLAP (arXiv:2211.06687; `laion/clap-htsat-unfused`).

Axes: N windows, D width of the embedding.
"""

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray
from torch import Tensor

from nexus.media import Audio
from nexus.metrics.judge import Judge, Measure, Sample, Verdict, digest, version
from nexus.metrics.judge_weights import from_folder, judge_weights

RATE, WINDOW, HOP = 48_000, 10, 1  # Hz, seconds
JUDGE, FOLDER, SOURCE = "CLAP", "clap-htsat-unfused", "laion/clap-htsat-unfused"
NAME = "CLAP score"


class Clap:
    """Both encoders on the CPU, as `transformers` computes them.

    A sound is heard in windows of 10 s, one a second; a shorter one is repeated, as in CLAP's training. What
    `transformers` does with longer sounds, cutting at random, would not be the same twice.

    Raises:
        MissingJudge: the weights are not there.
    """

    def __init__(self):
        from transformers import ClapModel, ClapProcessor

        self.weights = judge_weights(JUDGE, FOLDER, SOURCE)
        self._network, self._prepare = from_folder(ClapModel, self.weights.parent, JUDGE, ClapProcessor)

    @torch.no_grad()
    def hear(self, audio: Audio) -> Float[ndarray, "N D"]:
        """A vector of unit norm a window.

        Raises:
            ValueError: an empty sound.
        """
        samples = audio.mono().resample(RATE).samples[0]
        if not samples.size:
            raise ValueError("an empty sound fits no words")
        last = max(0, len(samples) - WINDOW * RATE)
        starts = range(0, last + 1, HOP * RATE)
        windows = [samples[start : start + WINDOW * RATE] for start in starts]
        inputs = self._prepare.feature_extractor(
            windows, sampling_rate=RATE, return_tensors="pt", truncation="rand_trunc", padding="repeatpad"
        )
        return _units(self._network.get_audio_features(**inputs).pooler_output)

    @torch.no_grad()
    def read(self, text: str) -> Float[ndarray, " D"]:
        """A vector of unit norm; what does not fit into the text encoder is cut off."""
        inputs = self._prepare.tokenizer(text, return_tensors="pt", truncation=True)
        return _units(self._network.get_text_features(**inputs).pooler_output)[0]

    def score(self, audio: Audio, text: str) -> float:
        """Cosine of the text to each window, and the mean of those, -1 to 1."""
        return float((self.hear(audio) @ self.read(text)).mean())


def _units(rows: Float[Tensor, "N D"]) -> Float[ndarray, "N D"]:
    vectors = rows.numpy().astype(np.float64)
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True).clip(min=1e-12)


def clap_judge() -> Judge:
    """Raises MissingJudge."""
    clap = Clap()

    def values(sample: Sample) -> Verdict:
        try:
            return Verdict(values={NAME: clap.score(sample.made, sample.prompt)})
        except ValueError as error:
            return Verdict(values={NAME: float("nan")}, note=f"{JUDGE}: {error}")

    return Judge(
        name=JUDGE, version=version("transformers"), weights=digest(clap.weights), rate=RATE,
        crop=f"windows of {WINDOW} s, one a second", measures=(Measure(name=NAME),), values=values,
    )  # fmt: skip
