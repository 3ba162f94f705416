"""Fréchet audio distance: whether what was made is spread as the data is, in a network's features of each second.

The embedding is a choice, since none fits every sound: VGGish of the first paper (arXiv:1812.08466) hears music badly,
CLAP well (arXiv:2311.01616). The weights of Whisper and Resemblyzer come as packages.

Axes: N windows, D width of the features.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from nexus.media import Audio
from nexus.metrics.clap import HOP, WINDOW, Clap
from nexus.metrics.clap import RATE as CLAP_RATE
from nexus.metrics.embedding import Embedding
from nexus.metrics.figures import Card, Figure
from nexus.metrics.frechet import frechet_figure
from nexus.metrics.judge import digest, need, package_file, version
from nexus.metrics.judging import Figures, or_why, resampling
from nexus.metrics.vggish import vggish_embedding

RATE = 16_000
WHISPER_FRAMES, FRAMES_PER_SECOND = 3000, 50  # the encoder halves its frames of 10 ms


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
        rate=RATE, windows="seconds", embed=embed,
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
        name="Resemblyzer", version=version("Resemblyzer"), weights=weights, rate=RATE, windows="1.6 s, 1.3 a second",
        embed=embed,
    )  # fmt: skip


def clap_embedding() -> Embedding:
    """CLAP's encoder of sounds, windows of 10 s, one a second: 512 numbers.

    Raises:
        MissingJudge: the weights are not there.
    """
    clap = Clap()
    return Embedding(
        name="CLAP", version=version("transformers"), weights=digest(clap.weights), rate=CLAP_RATE,
        windows=f"{WINDOW} s, one each {HOP} s", embed=clap.hear,
    )  # fmt: skip


EMBEDDINGS = {
    "whisper": whisper_embedding,
    "resemblyzer": resemblyzer_embedding,
    "vggish": vggish_embedding,
    "clap": clap_embedding,
}


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
        resampling=resampling({audio.rate for audio in made}, embedding.rate),
        crop=f"windows of {embedding.windows}",
        seed=seed,
    )
    return frechet_figure(f"FAD∞ ({embedding.name})", ours, theirs, card=card, seed=seed)


def chosen_fad(name: str | None, made: Sequence[Audio], real: Sequence[Audio], *, seed: int) -> Figures:
    """The figure of a named embedding, or why there is none; neither where no name is given.

    Raises:
        ValueError: an unknown name.
    """
    if name is None:
        return Figures()
    if name not in EMBEDDINGS:
        raise ValueError(f"unknown embedding {name!r}; there are {', '.join(EMBEDDINGS)}")
    return or_why(lambda: fad(made, real, EMBEDDINGS[name](), seed=seed))
