import numpy as np
import pytest

from nexus.media import Audio
from nexus.metrics.embedding import Embedding
from nexus.metrics.fad import EMBEDDINGS, chosen_fad, fad
from nexus.metrics.judge import MissingJudge
from nexus.metrics.judging import Figures

RATE = 8000


def noise(seed, level=0.5, seconds=10.0):
    samples = np.random.default_rng(seed).uniform(-level, level, round(seconds * RATE))
    return Audio(samples.astype(np.float32), RATE)


def loudness(audio):
    """Two numbers a second."""
    seconds = audio.samples[0][: audio.length // RATE * RATE].reshape(-1, 2, RATE // 2).astype(np.float64)
    return np.abs(seconds).mean(2) * 100


LOUDNESS = Embedding(name="loudness", version="1", weights="", rate=16_000, windows="seconds", embed=loudness)


def test_more_of_the_same_is_near_and_louder_is_far():
    real = [noise(i) for i in range(10)]
    same = fad([noise(i) for i in range(20, 30)], real, LOUDNESS, seed=0)
    louder = fad([noise(i, 0.9) for i in range(20, 30)], real, LOUDNESS, seed=0)
    assert abs(same.value) < 0.05 and louder.value == pytest.approx(2 * 20**2, rel=0.02)
    assert same.card.items == 100 and same.card.crop == "windows of seconds" and same.name == "FAD∞ (loudness)"
    assert same.card.resampling == "8000 -> 16000 Hz, soxr VHQ" and same.better == "lower"


def test_why_there_is_none_is_told(monkeypatch):
    def missing():
        raise MissingJudge("X wants y")

    monkeypatch.setitem(EMBEDDINGS, "loudness", lambda: LOUDNESS)
    monkeypatch.setitem(EMBEDDINGS, "missing", missing)
    few = [noise(0, seconds=3.0)]
    assert chosen_fad(None, few, few, seed=0) == Figures()
    assert chosen_fad("missing", few, few, seed=0) == Figures((), ("X wants y",))
    why = ("FAD∞ (loudness) of 2 features needs at least 7 items, got 3",)
    assert chosen_fad("loudness", few, few, seed=0) == Figures((), why)
    with pytest.raises(ValueError, match="unknown embedding 'panns'; there are whisper, resemblyzer, vggish, clap"):
        chosen_fad("panns", few, few, seed=0)


@pytest.mark.parametrize(("name", "shape"), [("whisper", (2, 512)), ("resemblyzer", (2, 256))])
def test_the_embeddings_that_come_as_packages(name, shape):
    try:
        embedding = EMBEDDINGS[name]()
    except MissingJudge as why:
        pytest.skip(str(why))
    found = embedding.embed(noise(0, 0.1, 2.3))
    assert found.shape == shape and np.isfinite(found).all() and len(embedding.weights) == 16
