"""Fréchet audio distance: whether what was made is spread as the data is, in a network's features of each second.

The embedding is a choice, since none fits every sound: VGGish of the first paper (arXiv:1812.08466) hears music badly
(arXiv:2311.01616). Here are those whose weights come as packages.

Axes: N windows, D width of the features.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from nexus.media import Audio
from nexus.metrics.figures import Card, Figure
from nexus.metrics.frechet import frechet_figure
from nexus.metrics.judge import MissingJudge, digest, need, package_file, version
from nexus.metrics.judging import resampling

RATE = 16_000
WHISPER_FRAMES, FRAMES_PER_SECOND = 3000, 50  # the encoder halves its frames of 10 ms


@dataclass(frozen=True, kw_only=True)
class Embedding:
    name: str
    version: str
    weights: str
    windows: str  # how a sound is cut, for the card
    embed: Callable[[Audio], Float[ndarray, "N D"]]


def whisper_embedding() -> Embedding:
    """Whisper base's encoder, the mean of each whole second: 512 numbers. Sounds are cut at 30 s.

    Raises:
        MissingJudge: the package or the weights are not installed.
    """
    from nexus.metrics.recogniser import whisper_folder

    package = need("faster_whisper", "Whisper", "faster-whisper")
    folder = whisper_folder()
    model = package.WhisperModel(str(folder), device="cpu", compute_type="int8", local_files_only=True)

    def embed(audio: Audio) -> Float[ndarray, "N D"]:
        samples = audio.mono().resample(RATE).samples[0][: 30 * RATE]
        seconds = len(samples) // RATE
        mel = model.feature_extractor(samples)[:, :WHISPER_FRAMES]
        mel = np.pad(mel, ((0, 0), (0, WHISPER_FRAMES - mel.shape[1])))
        states = np.array(model.encode(mel)).astype(np.float64)[0]  # [1500, D]
        return states[: seconds * FRAMES_PER_SECOND].reshape(seconds, FRAMES_PER_SECOND, states.shape[1]).mean(1)

    return Embedding(
        name="Whisper base encoder", version=version("faster-whisper"), weights=digest(folder / "model.bin"),
        windows="seconds", embed=embed,
    )  # fmt: skip


def resemblyzer_embedding() -> Embedding:
    """Resemblyzer's encoder of voices, windows of 1.6 s, 1.3 a second: 256 numbers.

    Raises:
        MissingJudge: the package is not installed.
    """
    need("webrtcvad", "Resemblyzer", "webrtcvad-wheels")
    encoder = need("resemblyzer", "Resemblyzer", "Resemblyzer").VoiceEncoder("cpu", verbose=False)

    def embed(audio: Audio) -> Float[ndarray, "N D"]:
        samples = np.ascontiguousarray(audio.mono().resample(RATE).samples[0])
        return np.asarray(encoder.embed_utterance(samples, return_partials=True)[1], dtype=np.float64)

    weights = digest(package_file("resemblyzer", "pretrained.pt", "Resemblyzer"))
    return Embedding(
        name="Resemblyzer", version=version("Resemblyzer"), weights=weights, windows="1.6 s, 1.3 a second", embed=embed
    )


EMBEDDINGS = {"whisper": whisper_embedding, "resemblyzer": resemblyzer_embedding}


def fad(made: Sequence[Audio], real: Sequence[Audio], embedding: Embedding, *, seed: int) -> Figure:
    """FAD∞ of the windows of what was made against those of the data; about 0 for more of the same.

    Raises:
        ValueError: too few windows; says how many are needed.
    """
    ours, theirs = (np.concatenate([embedding.embed(audio) for audio in sounds]) for sounds in (made, real))
    card = Card(
        judge=embedding.name,
        version=embedding.version,
        weights=embedding.weights,
        items=len(ours),
        resampling=resampling({audio.rate for audio in made}, RATE),
        crop=f"windows of {embedding.windows}",
        seed=seed,
    )
    return frechet_figure(f"FAD∞ ({embedding.name})", ours, theirs, card=card, seed=seed)


def chosen_fad(
    name: str | None, made: Sequence[Audio], real: Sequence[Audio], *, seed: int
) -> tuple[tuple[Figure, ...], tuple[str, ...]]:
    """The figure of a named embedding, or why there is none; neither where no name is given.

    Raises:
        ValueError: an unknown name.
    """
    if name is None:
        return (), ()
    if name not in EMBEDDINGS:
        raise ValueError(f"unknown embedding {name!r}; there are {', '.join(EMBEDDINGS)}")
    try:
        return (fad(made, real, EMBEDDINGS[name](), seed=seed),), ()
    except (MissingJudge, ValueError) as why:
        return (), (str(why),)
