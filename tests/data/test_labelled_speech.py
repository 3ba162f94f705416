"""Frames and their labels belong together, wherever a crop was taken."""

import gzip
import json

import numpy as np
import pytest
import soundfile

from nexus.data.labelled_speech import UNKNOWN, LabelledSpeech, moves, phones_of
from nexus.data.speech import read_manifest
from nexus.text.phonemes import PAUSE, symbol_ids

RATE, HOP, UNIT = 16000, 200, 600
UNITS = [10, 20, 2, 24, 12]  # pause, ɑ, a stress mark, s, pause
PITCH = {"a": 120.0, "b": 200.0}


def sound(pitch: float) -> np.ndarray:
    """Silence, a voice that rises by a fifth, noise, silence, at 24 kHz."""
    n = np.array(UNITS) * UNIT
    rising = pitch * np.linspace(1, 1.5, n[1])
    voice = 0.3 * np.sin(2 * np.pi * np.cumsum(rising) / 24000)
    noise = 0.1 * np.random.default_rng(0).standard_normal(n[2] + n[3])
    return np.concatenate([np.zeros(n[0]), voice, noise, np.zeros(n[4])])


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus")
    (folder / "manifests").mkdir()
    rows = []
    for speaker, pitch in PITCH.items():
        soundfile.write(folder / f"{speaker}.flac", sound(pitch), 24000)
        rows.append(
            {"id": speaker, "speaker": speaker, "text": "ah", "phonemes": "ɑˈs", "phoneme_set": "misaki-us",
             "durations": UNITS, "offset": 0, "num_samples": sum(UNITS) * UNIT, "sample_rate": 24000,
             "path": f"{speaker}.flac"}
        )  # fmt: skip
    rows.append(rows[0] | {"id": "c", "durations": []})
    with gzip.open(folder / "manifests" / "train.jsonl.gz", "wt") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)
    return folder


def batches(corpus, length=24 * HOP, speakers=("a", "b")):
    return LabelledSpeech(
        corpus, read_manifest(corpus, "train"), speakers, sample_rate=RATE, hop_length=HOP, length=length,
        batch_size=6, seed=0,
    )  # fmt: skip


def test_phones_of_frames(corpus):
    utterance = read_manifest(corpus, "train")[0]
    phones = phones_of(utterance, 136, HOP / RATE)  # two frames a unit
    expected = [symbol_ids(PAUSE)[0], symbol_ids("ɑ")[0], UNKNOWN, symbol_ids("s")[0], symbol_ids(PAUSE)[0]]
    assert expected[0] == 0
    assert phones.tolist() == np.repeat(expected, 2 * np.array(UNITS)).tolist()


def test_labels_are_those_of_the_crop(corpus):
    batch = batches(corpus)[3]
    assert batch["waveform"].shape == (6, 1, 24 * HOP) and batch["step"].tolist() == [3]
    assert {name: tuple(batch[name].shape) for name in ("phones", "pitch", "voiced", "speakers")} == {
        "phones": (6, 24), "pitch": (6, 24), "voiced": (6, 24), "speakers": (6,),
    }  # fmt: skip
    assert set(batch["speakers"].tolist()) == {0, 1}
    loud = batch["waveform"].unflatten(2, (24, HOP)).square().mean(-1)[:, 0].sqrt()
    vowel, silent = batch["phones"] == symbol_ids("ɑ")[0], batch["phones"] == 0
    assert vowel.any() and silent.any()
    assert loud[vowel].min() > 0.1 > 0.05 > loud[silent].median()
    assert batch["voiced"][vowel].mean() > 0.8 and batch["voiced"][~vowel].mean() < 0.2


def test_batches_are_functions_of_their_index(corpus):
    one, same, other = batches(corpus)[5], batches(corpus)[5], batches(corpus)[6]
    assert all(one[name].equal(same[name]) for name in one)
    assert not one["waveform"].equal(other["waveform"])


def test_pitch_says_how_it_moves_not_whose_it_is():
    rising = np.linspace(1, 1.5, 40)
    voiced = np.arange(40) > 5
    low, high = (moves(pitch * rising, voiced) for pitch in PITCH.values())
    np.testing.assert_allclose(low, high, atol=1e-9)
    assert abs(low[voiced].mean()) < 1e-9 and low[voiced].std() == pytest.approx(1) and not low[~voiced].any()
    assert not moves(np.zeros(4), np.zeros(4, bool)).any()
    assert np.abs(moves(np.full(4, 100.0), np.ones(4, bool))).max() < 1e-9


def test_wrong_requests(corpus):
    with pytest.raises(ValueError, match="whole frames of 200 samples, got 4801"):
        batches(corpus, length=4801)
    with pytest.raises(ValueError, match=r"has durations and lasts 0\.3 s"):
        batches(corpus, speakers=("x",))
    with pytest.raises(ValueError, match="lasts 30 s"):
        batches(corpus, length=30 * RATE)
