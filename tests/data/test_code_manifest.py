"""Codes for training: Lhotse reads them, a stopped run goes on, what cannot be read is named."""

import json
from types import SimpleNamespace

import lhotse
import numpy as np
import pytest
import torch

from nexus.codecs.encodec import Encodec, EncodecConfig
from nexus.codecs.encodec_windows import WindowedEncodec, WindowedEncodecConfig
from nexus.codecs.seanet import SEANetConfig
from nexus.data import code_manifest
from nexus.data.code_manifest import write_manifest
from nexus.media.audio import Audio
from nexus.nn.quantize import QuantizerConfig

RATE = 8000
QUANTIZER = QuantizerConfig(n_codebooks=3, codebook_size=16, dim=4)


def codec(channels=1, seed=0):
    torch.manual_seed(seed)
    seanet = SEANetConfig(n_filters=4, ratios=(8, 4), n_lstm_layers=1)
    if channels == 1:
        model = Encodec(EncodecConfig(sample_rate=RATE, seanet=seanet, quantizer=QUANTIZER)).eval()
    else:
        seanet = SEANetConfig(n_filters=4, ratios=(8, 4), causal=False, weight_norm=False, group_norm=True)
        inner = EncodecConfig(sample_rate=RATE, channels=2, seanet=seanet, quantizer=QUANTIZER)
        model = WindowedEncodec(WindowedEncodecConfig(codec=inner, window_length=800, stride=792)).eval()
    model.info = SimpleNamespace(name="mine", weights_hash=f"{seed:016d}", licence="MIT")
    return model


@pytest.fixture
def sounds(tmp_path):
    """Two recordings at different rates, one of them of two channels and in a folder of its own, with its text."""
    folder = tmp_path / "in"
    (folder / "deep").mkdir(parents=True)
    rng = np.random.default_rng(0)
    Audio(rng.uniform(-0.5, 0.5, (1, 8000)), RATE).save(folder / "a.wav")
    Audio(rng.uniform(-0.5, 0.5, (2, 12_001)), 16000).save(folder / "deep" / "b.flac")
    (folder / "deep" / "b.txt").write_text("Grüße aus dem Wald.\n")
    (folder / "notes.md").write_text("no sound")
    return folder


def test_lhotse_reads_what_was_written(sounds, tmp_path):
    model = codec()
    done = write_manifest(sounds, tmp_path / "out", model)
    assert (done.cuts, done.fresh, done.left_out) == (3, 2, ())
    assert done.seconds == pytest.approx(1 + 2 * 12_001 / 16000)
    cuts = lhotse.CutSet.from_file(tmp_path / "out" / "cuts.jsonl")
    lhotse.validate(cuts)
    assert [cut.id for cut in cuts] == ["a.wav-0", "deep/b.flac-0", "deep/b.flac-1"]
    for cut in cuts:
        audio = cut.resample(RATE) if cut.sampling_rate != RATE else cut
        assert cut.load_audio().shape == (1, cut.num_samples)
        sound = Audio(cut.load_audio(), cut.sampling_rate).resample(RATE)
        codes = cut.load_codes()
        assert codes.dtype == np.int16 and codes.shape == (-(-sound.length // 32), 3) and len(np.unique(codes)) > 8
        assert np.array_equal(codes.T, model.encode(sound.tensor()[None])[0].numpy())
        assert audio.codes.frame_shift == 32 / RATE
    assert [s.text for cut in cuts for s in cut.supervisions] == ["Grüße aus dem Wald."] * 2
    part = next(iter(cuts)).truncate(offset=0.4, duration=0.4)
    assert np.array_equal(part.load_codes(), next(iter(cuts)).load_codes()[100:200])


def test_a_codec_of_two_channels_makes_one_cut(sounds, tmp_path):
    model = codec(channels=2)
    write_manifest(sounds, tmp_path / "out", model)
    cuts = list(lhotse.CutSet.from_file(tmp_path / "out" / "cuts.jsonl"))
    assert [cut.channel for cut in cuts] == [0, [0, 1]] and cuts[1].load_audio().shape == (2, 12_001)
    sound = Audio.load(sounds / "deep" / "b.flac", rate=RATE)
    whole = model.encode(sound.tensor()[None])
    assert np.array_equal(cuts[1].load_codes().T, whole.codes[0].numpy())
    assert cuts[1].scales == whole.scales[0].tolist() and len(cuts[1].scales) > 5


def test_a_stopped_run_goes_on(sounds, tmp_path, monkeypatch):
    model, real = codec(), code_manifest.encode_long

    def stop(*args):
        monkeypatch.setattr(code_manifest, "encode_long", lambda *args: (_ for _ in ()).throw(KeyboardInterrupt))
        return real(*args)

    monkeypatch.setattr(code_manifest, "encode_long", stop)
    with pytest.raises(KeyboardInterrupt):
        write_manifest(sounds, tmp_path / "out", model)
    assert not (tmp_path / "out" / "cuts.jsonl").exists()
    monkeypatch.setattr(code_manifest, "encode_long", real)
    assert write_manifest(sounds, tmp_path / "out", model).fresh == 1
    write_manifest(sounds, tmp_path / "whole", model)
    out, whole = ((tmp_path / name / "cuts.jsonl").read_text() for name in ("out", "whole"))
    assert out.replace("/out/", "/whole/") == whole
    assert write_manifest(sounds, tmp_path / "out", model).fresh == 0


def test_a_changed_file_is_encoded_again(sounds, tmp_path):
    model = codec()
    write_manifest(sounds, tmp_path / "out", model)
    Audio.silence(4000, RATE).save(sounds / "a.wav")
    done = write_manifest(sounds, tmp_path / "out", model)
    assert done.fresh == 1 and len(next(iter(lhotse.CutSet.from_file(tmp_path / "out/cuts.jsonl"))).load_codes()) == 125


def test_codes_of_different_settings_are_not_mixed(sounds, tmp_path):
    write_manifest(sounds, tmp_path / "out", codec())
    for model, n_codebooks in ((codec(seed=1), None), (codec(), 2)):
        with pytest.raises(ValueError, match=r"out holds codes of (weights_hash|n_codebooks)"):
            write_manifest(sounds, tmp_path / "out", model, n_codebooks=n_codebooks)
    with pytest.raises(ValueError, match="is not empty and holds no codes"):
        write_manifest(sounds, sounds, codec())


def test_what_cannot_be_read_is_named(sounds, tmp_path):
    (sounds / "c.wav").write_bytes((sounds / "a.wav").read_bytes()[:5000])
    Audio.silence(0, RATE).save(sounds / "d.wav")
    done = write_manifest(sounds, tmp_path / "out", codec())
    assert done.cuts == 3 and len(done.left_out) == 2
    assert "c.wav is damaged: it ends after" in done.left_out[0]
    assert done.left_out[1].endswith("d.wav: the sound is empty; a codec needs at least one sample")
    assert not [path for path in (tmp_path / "out").rglob(".*")]


def test_folders_without_sound(tmp_path):
    with pytest.raises(FileNotFoundError):
        write_manifest(tmp_path / "gone", tmp_path / "out", codec())
    (tmp_path / "in").mkdir()
    with pytest.raises(ValueError, match=r"in holds no sound: no file in it ends in one of \.wav"):
        write_manifest(tmp_path / "in", tmp_path / "out", codec())
    assert not (tmp_path / "out").exists()


def test_settings_are_told(sounds, tmp_path):
    write_manifest(sounds, tmp_path / "out", codec(), n_codebooks=2)
    told = json.loads((tmp_path / "out" / "tokens.json").read_text())
    assert told == {
        "codec": "mine", "weights_hash": "0" * 16, "licence": "MIT", "n_codebooks": 2, "codebook_size": 16,
        "sample_rate": RATE, "frame_rate": 250.0,
    }  # fmt: skip
    assert next(iter(lhotse.CutSet.from_file(tmp_path / "out/cuts.jsonl"))).load_codes().shape == (250, 2)
