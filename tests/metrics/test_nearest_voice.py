import gzip
import json

import numpy as np
import pytest

from nexus.media import Audio
from nexus.metrics.nearest_voice import nearest_voices

RATE = 8000


def voice(level):
    return Audio(np.full(RATE, level, np.float32), RATE)


def embed(audio):
    """The nearer two levels are, the greater the product."""
    angle = np.pi / 2 * audio.peak
    return np.array([np.cos(angle), np.sin(angle)])


@pytest.fixture
def corpus(tmp_path):
    (tmp_path / "manifests").mkdir()
    with gzip.open(tmp_path / "manifests" / "train.jsonl.gz", "wt") as file:
        for i, speaker in enumerate("abbc"):
            voice(0.2 + 0.2 * i).save(tmp_path / f"{i}.wav")
            row = {"id": str(i), "speaker": speaker, "text": "", "phonemes": "", "phoneme_set": "", "path": f"{i}.wav"}
            file.write(json.dumps(row | {"num_samples": RATE, "sample_rate": RATE}) + "\n")
    return tmp_path


def test_the_nearest_of_other_speakers(corpus):
    found = nearest_voices(corpus, embed, [("a", voice(0.2)), ("b", voice(0.7)), ("new", voice(0.45))])
    assert [sound.peak for sound in found] == pytest.approx([0.4, 0.8, 0.4], abs=1e-3)


def test_there_must_be_another_speaker(corpus):
    with pytest.raises(FileNotFoundError, match="splits are train"):
        nearest_voices(corpus, embed, [], split="valid")
    with gzip.open(corpus / "manifests" / "train.jsonl.gz", "rt") as file:
        first = file.readline()
    with gzip.open(corpus / "manifests" / "train.jsonl.gz", "wt") as file:
        file.write(first)
    with pytest.raises(ValueError, match="no speaker other than a"):
        nearest_voices(corpus, embed, [("a", voice(0.2))])
