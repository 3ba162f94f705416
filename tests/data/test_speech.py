"""The speech corpus reader on a small corpus written here, and its promises: alignment, buckets, determinism."""

import gzip
import json

import numpy as np
import pytest
import soundfile
import torch

from nexus.data.mel_cache import recorded_mels
from nexus.data.speech import (
    RATES,
    Utterance,
    other_voices,
    read_lhotse,
    read_manifest,
)
from nexus.data.speech_batches import SpeechBatches
from nexus.media.features import MelConfig
from nexus.text.phonemes import PAUSE, symbol_ids

MEL = MelConfig(sample_rate=24000, n_mels=20)
UNIT = 600


def row(i: int, units: int, offset: int = 1200) -> dict:
    return {
        "id": f"u{i}",
        "speaker": "a",
        "text": "a b",
        "phonemes": "ɐ b.",
        "phoneme_set": "misaki-us",
        "durations": [4, units, 2, 3, 2, 5],
        "offset": offset,
        "num_samples": (11 + units) * UNIT - offset,
        "sample_rate": 24000,
        "path": f"audio/u{i}.flac",
        "speed": 1.1,
        "engine": "unused",
    }


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus")
    (folder / "audio").mkdir()
    (folder / "manifests").mkdir()
    rows = [row(i, 10 + 3 * i) for i in range(9)]
    rng = np.random.default_rng(0)
    for item in rows:
        soundfile.write(folder / item["path"], 0.1 * rng.standard_normal(item["num_samples"]), 24000)
    rows.append(row(9, 10) | {"durations": [], "path": rows[0]["path"]})
    with gzip.open(folder / "manifests" / "train.jsonl.gz", "wt") as file:
        file.writelines(json.dumps(item) + "\n" for item in rows)
    return folder


@pytest.fixture(scope="module")
def batches(corpus):
    return SpeechBatches(
        read_manifest(corpus, "train"),
        recorded_mels(corpus, "train", corpus / "cache", MEL, read_manifest(corpus, "train")),
        frames_per_batch=200,
        hop_length=256,
        n_buckets=3,
        seed=1,
    )


def test_symbols_begin_where_the_corpus_says(corpus):
    """Character k of `phonemes` begins at 600 * sum(durations[:k + 1]) - offset."""
    utterance = read_manifest(corpus, "train")[0]
    starts = utterance.symbol_starts()
    for k in range(len(utterance.phonemes)):
        assert starts[k + 1] == UNIT * sum(utterance.durations[: k + 1]) - utterance.offset
    frames = utterance.frame_symbols(50, 256)
    spoken = symbol_ids("ɐ")[0]
    first = int(np.flatnonzero(frames == spoken)[0])
    assert first * 256 >= starts[1] > (first - 1) * 256
    assert list(dict.fromkeys(frames)) == symbol_ids(PAUSE + "ɐ b.")


def test_heard_durations_fill_the_file(corpus):
    for utterance in read_manifest(corpus, "train")[:9]:
        heard = utterance.heard_durations()
        assert heard.sum() * UNIT == utterance.num_samples
        assert heard[0] == 2 and heard[1] == utterance.durations[1]  # 1200 samples of the start pad were trimmed
    trimmed = Utterance(
        **{k: v for k, v in row(0, 10).items() if k != "engine"}
        | {"durations": (4, 10, 2, 3, 2, 5), "num_samples": 14 * UNIT}
    )
    assert trimmed.heard_durations().tolist() == [2, 10, 2, 0, 0, 0]


def test_batch_holds_mels_text_and_durations(batches, corpus):
    batch = batches[0]
    n, _, frames = batch["mel"].shape
    assert batch["text"].shape == (n, frames) and batch["symbols"].shape == batch["durations"].shape == (n, 6)
    for i, length in enumerate(batch["length"]):
        assert (batch["text"][i, :length] >= 0).all() and (batch["text"][i, length:] == -1).all()
        assert (batch["mel"][i, :, length:] == 0).all()
    torch.testing.assert_close(batch["durations"][:, 2:4], torch.tensor([[2.0, 3.0]]).expand(n, 2) * 1.1)


def test_batches_are_a_function_of_seed_and_index(batches):
    def ids(stream, index):
        number, position = divmod(index, stream.batches_per_epoch)
        return [u.id for u in stream.epoch(number)[position]]

    count = batches.batches_per_epoch
    far = batches[3 * count + 1]
    near = batches[0]
    torch.testing.assert_close(batches[3 * count + 1]["mel"], far["mel"])
    torch.testing.assert_close(batches[0]["text"], near["text"])
    for epoch in range(3):  # each epoch is every aligned utterance once
        seen = [name for i in range(count) for name in ids(batches, epoch * count + i)]
        assert sorted(seen) == [f"u{i}" for i in range(9)]
    orders = {tuple(tuple(ids(batches, e * count + i)) for i in range(count)) for e in range(4)}
    assert len(orders) > 1


def test_batches_keep_to_their_size_and_to_like_lengths(batches):
    for i in range(batches.batches_per_epoch):
        batch = batches[i]
        assert batch["mel"].shape[0] * batch["mel"].shape[2] <= 200 or batch["mel"].shape[0] == 1
        assert batch["length"].max() - batch["length"].min() <= 25


def test_cache_is_made_once_and_equals_the_mel(corpus, batches):
    from nexus.media.features import log_mel

    utterance = read_manifest(corpus, "train")[2]
    waveform = torch.from_numpy(soundfile.read(corpus / utterance.path, dtype="float32")[0])
    expected = log_mel(waveform[None], MEL)[0].T.half().numpy()
    np.testing.assert_array_equal(batches.mels[utterance], expected)
    before = {path: path.stat().st_mtime_ns for path in (corpus / "cache").iterdir()}
    recorded_mels(corpus, "train", corpus / "cache", MEL, read_manifest(corpus, "train"))
    assert before == {path: path.stat().st_mtime_ns for path in (corpus / "cache").iterdir()}


def test_other_voices_are_higher_or_lower_and_their_symbols_stay_in_place(tmp_path):
    """A tone that sounds during one symbol alone is found under that symbol, at its pitch times the rate."""
    (tmp_path / "audio").mkdir()
    whole = {k: v for k, v in row(0, 30, offset=0).items() if k != "engine"}
    utterance = Utterance(**whole | {"durations": tuple(whole["durations"])})
    starts = utterance.symbol_starts()
    tone = 0.3 * np.sin(2 * np.pi * 1000 * np.arange(utterance.num_samples) / 24000)
    tone[: starts[1]] = tone[starts[2] :] = 0
    soundfile.write(tmp_path / utterance.path, tone, 24000)
    made = other_voices([utterance], len(RATES))
    assert sorted(u.rate for u in made) == sorted(RATES) and len({u.id for u in made}) == len(RATES)
    mels = recorded_mels(tmp_path, "voices", tmp_path / "cache", MEL, made)
    heights = {}
    for voice in made:
        mel = np.exp(mels[voice].astype(np.float32))  # [T, M]
        assert abs(len(mel) - 1 - utterance.num_samples / 256 / voice.rate) < 1
        sounding = voice.frame_symbols(len(mel), 256) == utterance.symbols[1]
        edges = np.diff(sounding, prepend=False) | np.diff(sounding, append=False)
        inside, outside = mel[sounding & ~edges].sum(axis=1), mel[~sounding & ~edges].sum(axis=1)
        assert np.median(inside) > 100 * np.median(outside) and sounding.mean() > 0.5
        spectrum = mel[sounding].mean(axis=0)
        heights[voice.rate] = float((spectrum * np.arange(20)).sum() / spectrum.sum())
    assert [heights[rate] for rate in sorted(RATES)] == sorted(heights.values())
    assert {u.id for u in other_voices([utterance], 2)} < {u.id for u in made}
    with pytest.raises(ValueError, match=r"other_voices .* must be in"):
        other_voices([utterance], 7)


def test_missing_splits_and_durations_are_named(corpus, batches):
    with pytest.raises(FileNotFoundError, match="splits are train"):
        read_manifest(corpus, "test")
    bare = [u for u in read_manifest(corpus, "train") if not u.durations]
    assert len(bare) == 1
    with pytest.raises(ValueError, match="durations"):
        SpeechBatches(bare, batches.mels, frames_per_batch=200, hop_length=256)


@pytest.mark.filterwarnings("ignore")
def test_lhotse_manifests_are_read(tmp_path):
    lhotse = pytest.importorskip("lhotse")
    recording = lhotse.Recording(
        id="r1",
        sources=[lhotse.AudioSource(type="file", channels=[0], source="audio/r1.flac")],
        sampling_rate=24000,
        num_samples=48000,
        duration=2.0,
    )
    supervision = lhotse.SupervisionSegment(
        id="s1", recording_id="r1", start=0.0, duration=2.0, text="a b", speaker="x", custom={"phonemes": "ɐ b"}
    )
    lhotse.RecordingSet.from_recordings([recording]).to_file(tmp_path / "recordings.jsonl.gz")
    lhotse.SupervisionSet.from_segments([supervision]).to_file(tmp_path / "supervisions.jsonl.gz")
    (utterance,) = read_lhotse(tmp_path / "recordings.jsonl.gz", tmp_path / "supervisions.jsonl.gz")
    assert (utterance.id, utterance.speaker, utterance.text, utterance.phonemes) == ("s1", "x", "a b", "ɐ b")
    assert (utterance.path, utterance.num_samples, utterance.durations) == ("audio/r1.flac", 48000, ())
    lhotse.RecordingSet.from_recordings([]).to_file(tmp_path / "none.jsonl")
    (tmp_path / "none.jsonl").touch()
    with pytest.raises(ValueError, match="'r1', not in"):
        read_lhotse(tmp_path / "none.jsonl", tmp_path / "supervisions.jsonl.gz")
