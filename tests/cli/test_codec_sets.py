"""`nexus codec compare`, `tokens` and `fit-semantic`; hostile files of codes through `decode`."""

import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nexus.cli import codec_compare
from nexus.codecs.dac import Dac, DacConfig
from nexus.codecs.encodec import Encodec, EncodecConfig
from nexus.codecs.encodec_windows import WindowedEncodec, WindowedEncodecConfig
from nexus.codecs.seanet import SEANetConfig
from nexus.media.audio import Audio
from nexus.metrics import compare_codecs as comparing
from nexus.metrics.judge import MissingJudge
from nexus.metrics.si_sdr import si_sdr_judge
from nexus.nn.quantize import QuantizerConfig

RATE = 8000
QUANTIZER = QuantizerConfig(n_codebooks=3, codebook_size=16, dim=4)


def sound(seconds=1.0, channels=1):
    rng = np.random.default_rng(0)
    return Audio(rng.uniform(-0.5, 0.5, (channels, round(seconds * RATE))), RATE)


def save_codecs(place):
    """One small codec of each kind of file."""
    torch.manual_seed(0)
    seanet = SEANetConfig(n_filters=2, ratios=(8, 4), n_lstm_layers=1)
    Encodec(EncodecConfig(sample_rate=RATE, seanet=seanet, quantizer=QUANTIZER)).save(place / "mono")
    seanet = SEANetConfig(n_filters=4, ratios=(8, 4), causal=False, weight_norm=False, group_norm=True)
    inner = EncodecConfig(sample_rate=RATE, channels=2, seanet=seanet, quantizer=QUANTIZER)
    WindowedEncodec(WindowedEncodecConfig(codec=inner, window_length=800, stride=792)).save(place / "windows")
    sizes = {"encoder_dim": 4, "ratios": (2, 4), "decoder_dim": 16, "codebook_size": 32, "codebook_dim": 4}
    Dac(DacConfig(sample_rate=RATE, n_codebooks=3, **sizes)).save(place / "dac")


@pytest.fixture
def codecs(run, tmp_path):
    save_codecs(tmp_path)


@pytest.fixture
def quick(monkeypatch):
    """One judge that is quick, and one that is missing."""

    def missing():
        raise MissingJudge("Whisper wants the package faster-whisper")

    monkeypatch.setattr(comparing, "Recogniser", missing)
    monkeypatch.setattr(comparing, "compare_codecs", partial(comparing.compare_codecs, makers=(si_sdr_judge, missing)))


def test_compare(run, codecs, quick, tmp_path):
    sound(1.5).save("in.wav")
    line = ("codec", "compare", "in.wav", "--codecs", "mono@2kbps,windows,opus@16kbps", "-o", "out", "--duration", "1")
    code, out, err = run(*line, "--json")
    assert (code, err) == (0, "")
    told = json.loads(out)
    assert told["path"] == "out" and told["cut"] == "compared on the first 1 s" and told["seconds"] == 1
    assert [row["name"] for row in told["codecs"]] == ["the sound itself", "mono@2kbps", "windows", "opus@16kbps"]
    assert told["codecs"][1]["values"]["bit rate"] == 2 and told["left_out"][0].startswith("Whisper wants")
    assert {path.name for path in Path("out").iterdir()} == {
        "report.html", "comparison.json", "spectrograms.png", "media",
    }  # fmt: skip
    assert all(Path("out", row["path"]).is_file() for row in told["codecs"])
    code, _, err = run(*line)
    assert code == 2 and "out is there already" in err
    code, out, err = run(*line[:-4], "-o", "again")
    assert (code, err) == (0, "") and "SI-SDR (dB) ↑" in out and "bit rate (kb/s) ↓" in out
    assert "left out: Whisper wants" in out and out.endswith("again/report.html\n")


def test_all_codecs_are_those_at_hand(run, quick, monkeypatch):
    monkeypatch.setattr(codec_compare, "cached", lambda: {"facebook/musicgen-small", "someone/else"})
    assert codec_compare.all_codecs() == ["nexus/encodec-tiny", "nexus/spectral-tiny"]
    sound(0.5).save("in.wav")
    code, out, err = run("codec", "compare", "in.wav", "-o", "out", "--json")
    assert (code, err) == (0, "")
    assert [row["name"] for row in json.loads(out)["codecs"]][1:] == [
        "nexus/encodec-tiny",
        "nexus/spectral-tiny",
        "opus@6kbps",
    ]


REFUSED = {
    "unknown codec": ("--codecs mono,nexus/encodec-tny", "nearest: nexus/encodec-tiny"),
    "a vocoder": ("--codecs nexus/vocos-tiny", "nexus/vocos-tiny is a Vocos"),
    "opus without a rate": ("--codecs opus", "say at which bit rate, such as opus@6kbps"),
    "no codec": ("--codecs mono,,windows", "'' is neither all, NAME nor NAME@KBPS"),
    "nonsense": ("--codecs mono@fast", "'mono@fast' is neither"),
    "a rate that it has not": ("--codecs mono@0.1", "bandwidth must be 1 to 3 kbps"),
    "too short": ("--codecs mono --duration 0.1", "--duration"),
    "silent": ("--codecs mono", "in.wav is silent"),
    "short": ("--codecs mono", "in.wav lasts 0.1 s; judges need at least 0.5 s"),
    "gone": ("--codecs mono", "no such file"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_compare_refuses(run, codecs, quick, name):
    if name != "gone":
        made = {"silent": Audio.silence(RATE, RATE), "short": sound(0.1)}.get(name, sound())
        made.save("in.wav")
    options, sentence = REFUSED[name]
    code, out, err = run("codec", "compare", "in.wav", "-o", "out", *options.split())
    assert code == 2 and sentence in " ".join(err.replace("│", " ").split()) and "Traceback" not in err
    assert not Path("out").exists() and out == ""


def test_compare_stopped(run, codecs, quick, monkeypatch):
    sound().save("in.wav")
    before = {path.name for path in Path().iterdir()}

    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("nexus.metrics.report_codecs.spectrogram_sheet", stop)
    assert run("codec", "compare", "in.wav", "-o", "out", "--codecs", "mono")[0] == 130
    assert {path.name for path in Path().iterdir()} == before


def test_tokens(run, codecs):
    Path("in").mkdir()
    sound(1).save("in/a.wav")
    sound(0.5, channels=2).save("in/b.wav")
    Path("in/c.wav").write_bytes(b"none")
    code, out, err = run("codec", "tokens", "in", "-o", "out", "-m", "mono", "--codebooks", 2, "--json")
    told = json.loads(out)
    assert (code, err) == (0, "") and (told["cuts"], told["encoded"], told["seconds"]) == (3, 2, 2)
    assert len(told["left_out"]) == 1 and "c.wav" in told["left_out"][0] and told["path"] == "out/cuts.jsonl"
    code, out, _ = run("codec", "tokens", "in", "-o", "out", "-m", "mono", "--codebooks", 2)
    assert code == 0 and out.startswith("out/cuts.jsonl: 3 cuts, 2 s, 0 files encoded now\n  left out: in/c.wav")
    for options, sentence in (
        (("-o", "out", "-m", "mono"), "out holds codes of n_codebooks 2 (now 3)"),
        (("-o", "in", "-m", "mono"), "in is not empty and holds no codes"),
        (("-o", "new", "-m", "nexus/vocos-tiny"), "is a Vocos"),
        (("-o", "new", "-m", "mono", "--bitrate", "9", "--codebooks", "1"), "not both"),
    ):
        code, _, err = run("codec", "tokens", "in", *options)
        assert code == 2 and sentence in err and not Path("new").exists()


def test_fit_semantic_and_its_tokens(run, codecs):
    torch.manual_seed(0)
    sizes = {"hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 8}
    positions = {"num_conv_pos_embeddings": 8, "num_conv_pos_embedding_groups": 2}
    transformers.HubertModel(transformers.HubertConfig(conv_dim=(4,) * 7, **sizes, **positions)).save_pretrained("hub")
    Path("in").mkdir()
    sound(2).save("in/a.wav")
    fit = ("codec", "fit-semantic", "in", "--model", "hub", "--layer", 2, "--clusters", 5)
    run()  # what saving said is not looked at
    code, out, err = run(*fit, "-o", "out", "--json")
    assert (code, err) == (0, "")
    told = json.loads(out)
    assert (told["clusters"], told["frames"], told["seconds"], told["left_out"]) == (5, 99, 2, [])
    code, out, err = run("codec", "tokens", "in", "-o", "codes", "-m", "out", "--json")
    assert (code, err) == (0, "") and json.loads(out)["cuts"] == 1
    (array,) = (np.load(path) for path in Path("codes/codes").glob("*.npy"))
    assert array.shape == (99, 1) and array.min() >= 0 and array.max() < 5 and len(np.unique(array)) > 1
    for options, sentence in (
        (("-o", "out"), "out is there already"),
        (("-o", "new", "--clusters", "500"), "500 clusters need as many frames"),
        (("-o", "new", "--layer", "3"), "layer must be 1 to 2, got 3"),
        (("-o", "new", "--model", "mono"), "semantic tokens need one of wav2vec2"),
    ):
        code, _, err = run(*fit, *options)
        assert code == 2 and sentence in err and not Path("new").exists()
    code, _, err = run("codec", "encode", "in/a.wav", "-o", "x.nxc", "-m", "out")
    assert code == 2 and "is a SemanticTokens" in err  # there is no way back


FILES = {".nxc": "mono", ".ecdc": "windows", ".dac": "dac"}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A good file of each kind, beside the codecs."""
    from nexus.cli.main import main

    place = tmp_path_factory.mktemp("files")
    save_codecs(place)
    sound(0.25).save(place / "in.wav")
    for suffix, codec in FILES.items():
        line = ["codec", "encode", str(place / "in.wav"), "-o", str(place / f"x{suffix}"), "-m", str(place / codec)]
        assert main(line) == 0
    return place


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    suffix=st.sampled_from(sorted(FILES)),
    changes=st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), max_size=3),
    keep=st.integers(1, 2000),
    digit=st.none() | st.tuples(st.integers(0, 50), st.sampled_from([b"0", b"9", b"99999999", b"-1", b"1e9", b"null"])),
)
def test_hostile_files_end_in_sound_or_a_sentence(run, files, suffix, changes, keep, digit):
    """Bytes changed, cut, and numbers of the head swapped for others."""
    data = bytearray((files / f"x{suffix}").read_bytes())
    for place, value in changes:
        data[place % len(data)] = value
    if digit is not None:
        places = [i for i, byte in enumerate(data) if 48 <= byte < 58]
        at = places[digit[0] % len(places)]
        data[at : at + 1] = digit[1]
    Path(f"y{suffix}").write_bytes(data[:keep])
    Path("y.wav").unlink(missing_ok=True)
    code, out, err = run("codec", "decode", f"y{suffix}", "-o", "y.wav", "-m", files / FILES[suffix])
    assert code in (0, 2) and "Traceback" not in err
    if code == 0:
        assert np.isfinite(Audio.load("y.wav").samples).all()
    else:
        assert not Path("y.wav").exists() and out == "" and err
    assert not [path for path in Path().iterdir() if path.name.startswith(".")]
