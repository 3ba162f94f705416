"""Codecs as their makers publish them, NeMo's archives and FACodec's pairs, through every command of `nexus codec`."""

import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

import nexus
from nexus.media.audio import Audio
from nexus.metrics import compare_codecs as comparing
from nexus.metrics.judge import MissingJudge
from nexus.metrics.si_sdr import si_sdr_judge
from tests.hub import test_facodec as amphion
from tests.hub import test_nemo as nemo

NEMO = "44khz"  # of the small configurations
FACODECS = {"facodec": "", "facodec-2": "_v2"}
CODECS = ("codec.nemo", *FACODECS)


@pytest.fixture
def codecs(run):
    """An archive, and both versions of the pair of files."""
    values = nemo.SMALL[NEMO]
    nemo.write("codec.nemo", values, nemo.redrawn(nemo.published(values, old_norms=False)))
    for name, version in FACODECS.items():
        Path(name).mkdir()
        files = amphion.published(dim=8, n_layers=2, hidden_dim=12, prosody_bins=5 if version else None)
        amphion.write(Path(name), *files, version)


def sound(seconds=0.5, channels=1, rate=16000):
    samples = 0.3 * np.random.default_rng(0).standard_normal((channels, round(seconds * rate)))
    return Audio(samples.clip(-1, 1), rate)


@pytest.mark.parametrize("name", CODECS)
@pytest.mark.parametrize("channels", [1, 2])
def test_there_and_back(run, codecs, name, channels):
    sound(channels=channels).save("in.wav")
    code, out, err = run("codec", "encode", "in.wav", "-o", "x.nxc", "-m", name, "--json")
    assert (code, err) == (0, "")
    told = json.loads(out)
    codec = nexus.load(name)
    assert told["bitrate"] == pytest.approx(channels * codec.bitrate / 1000, abs=1e-3)
    code, out, err = run("codec", "decode", "x.nxc", "-o", "x.wav", "--json")
    assert (code, err) == (0, "") and json.loads(out)["seconds"] == 0.5
    heard = Audio.load("x.wav")
    waveform = Audio.load("in.wav").resample(codec.sample_rate).tensor()[:, None]
    codes = codec.encode(waveform)
    beside = (codec.timbre(waveform),) if name in FACODECS else ()
    expected = codec.decode(codes, *beside, length=waveform.shape[-1])[:, 0]
    assert len(codes.unique()) > 8 and expected.std() > 1e-3
    torch.testing.assert_close(heard.tensor(), expected.clamp(-1, 1), atol=1e-4, rtol=0)


@pytest.mark.parametrize("name", CODECS)
def test_tokens(run, codecs, name):
    Path("in").mkdir()
    sound().save("in/a.wav")
    code, out, err = run("codec", "tokens", "in", "-o", "codes", "-m", name, "--json")
    assert (code, err) == (0, "") and json.loads(out)["cuts"] == 1
    codec, (file,) = nexus.load(name), Path("codes/codes").glob("*.npy")
    waveform = Audio.load("in/a.wav").resample(codec.sample_rate).tensor()[None]
    assert np.array_equal(np.load(file), codec.encode(waveform)[0].T.numpy())
    cut = json.loads(Path("codes/cuts.jsonl").read_text())
    assert ("timbre" in cut["custom"]) == (name in FACODECS)


def test_compared(run, codecs, monkeypatch):
    def missing():
        raise MissingJudge("Whisper is not here")

    monkeypatch.setattr(comparing, "Recogniser", missing)
    monkeypatch.setattr(comparing, "compare_codecs", partial(comparing.compare_codecs, makers=(si_sdr_judge,)))
    sound().save("in.wav")
    code, out, err = run("codec", "compare", "in.wav", "--codecs", ",".join(CODECS), "-o", "out", "--json")
    assert (code, err) == (0, "")
    rows = json.loads(out)["codecs"][1:]
    assert [row["name"] for row in rows] == list(CODECS)
    assert all(np.isfinite(row["values"]["SI-SDR"]) and row["values"]["bit rate"] > 0 for row in rows)


def test_damaged_archives(run, codecs):
    sound().save("in.wav")
    whole = Path("codec.nemo").read_bytes()
    Path("codec.nemo").write_bytes(whole[: len(whole) // 2])
    Path("facodec/ns3_facodec_decoder.bin").unlink()
    for name, sentence in (("codec.nemo", "codec.nemo"), ("facodec", "ns3_facodec_decoder.bin is missing")):
        code, out, err = run("codec", "encode", "in.wav", "-o", "x.nxc", "-m", name)
        assert code == 2 and sentence in " ".join(err.replace("│", " ").split()) and "Traceback" not in err
        assert not Path("x.nxc").exists() and out == ""


@pytest.mark.parametrize("name", CODECS)
def test_they_have_one_bit_rate(run, codecs, name):
    sound().save("in.wav")
    for option in ("--bitrate", "--codebooks"):
        code, _, err = run("codec", "encode", "in.wav", "-o", "x.nxc", "-m", name, option, "2")
        assert code == 2 and ("one bit rate" in err or "codebooks, got 2" in err)
