"""Data that several recipes learn from."""

import gzip
import json

import numpy as np
import pytest
import soundfile


@pytest.fixture
def speech_corpus(tmp_path):
    """The folder of a corpus of read speech: eight made-up utterances of a second, half of them held out."""
    corpus = tmp_path / "corpus"
    (corpus / "audio").mkdir(parents=True)
    (corpus / "manifests").mkdir()
    rng = np.random.default_rng(0)
    for split in ("train", "valid"):
        rows = []
        for i in range(4):
            n_samples = 600 * (40 + i)
            path = f"audio/{split}{i}.flac"
            soundfile.write(corpus / path, 0.1 * rng.standard_normal(n_samples), 24000)
            row = {"id": f"{split}{i}", "speaker": "af_heart", "text": "hello", "phonemes": "həlˈO", "path": path}
            row |= {"phoneme_set": "misaki-us", "durations": [5, 5, 5, 5, 5, 10 + i, 5], "offset": 0}
            rows.append(row | {"num_samples": n_samples, "sample_rate": 24000})
        with gzip.open(corpus / "manifests" / f"{split}.jsonl.gz", "wt") as file:
            file.writelines(json.dumps(row) + "\n" for row in rows)
    return corpus
