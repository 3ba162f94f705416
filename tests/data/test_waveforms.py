"""Recordings kept in one file, and random crops that depend on seed and index alone."""

import numpy as np
import pytest
import torch

from nexus.data import waveforms


def test_kept_recordings_are_made_once(tmp_path):
    calls = []

    def make():
        calls.append(1)
        yield np.array([0.0, 0.5, 2.0], np.float32)
        yield np.array([-1.0], np.float32)

    for _ in range(2):
        recording = waveforms.cached(tmp_path / "deep" / "x.npy", make)
    assert calls == [1]
    assert recording.tolist() == [0, 16384, 32767, -32767]
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["x.npy"]


def test_crops():
    sources = [np.full(50, 1000, np.int16), np.arange(0, 3000, 20, dtype=np.int16)]
    crops = waveforms.RandomCrops(sources, length=40, batch_size=4, seed=3, gain_range=(0.0, 0.0))
    batch = crops[7]
    assert batch["waveform"].shape == (4, 1, 40)
    assert batch["step"].tolist() == [7]
    assert torch.equal(batch["waveform"], crops[7]["waveform"])
    assert not torch.equal(batch["waveform"], crops[8]["waveform"])
    torch.testing.assert_close(batch["waveform"][0::2], torch.full((2, 1, 40), 1000 / 32767))
    torch.testing.assert_close(batch["waveform"][1].diff(), torch.full((1, 39), 20 / 32767), atol=1e-6, rtol=0)


def test_gain_stays_below_full_scale():
    loud = waveforms.RandomCrops([np.full(50, 30000, np.int16)], length=8, batch_size=8, seed=0, gain_range=(3.0, 9.0))
    assert loud[0]["waveform"].max() <= 0.99 + 1e-6


def test_bad_sources_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"40 samples need recordings at least as long, got \[9\]"):
        waveforms.RandomCrops([np.zeros(9, np.int16)], length=40, batch_size=1, seed=0)
    with pytest.raises(ValueError, match="unknown source 'speach'; there are speech, music, sound"):
        waveforms.recordings(("speach",), "train", corpus="x", cache=tmp_path, sample_rate=24000)


def test_worlds_give_waveforms():
    (clip,) = list(waveforms.sound("valid", 1, 24000))
    assert clip.shape == (96000,)
    assert clip.std() > 1e-3
