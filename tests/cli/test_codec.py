"""`nexus codec encode` and `decode`: what is written, said and refused, for every kind of sound."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from nexus.cli import codec as commands
from nexus.codecs import long_sounds
from nexus.codecs.encodec import Encodec, EncodecConfig
from nexus.codecs.encodec_windows import WindowedEncodec, WindowedEncodecConfig
from nexus.codecs.seanet import SEANetConfig
from nexus.codecs.vocos import Vocos, VocosConfig
from nexus.media.audio import Audio
from nexus.nn.quantize import QuantizerConfig

RATE = 8000
SEANET = SEANetConfig(n_filters=2, ratios=(8, 4), n_lstm_layers=1)
QUANTIZER = QuantizerConfig(n_codebooks=3, codebook_size=16, dim=4)
WINDOWS = EncodecConfig(
    sample_rate=RATE,
    channels=2,
    seanet=SEANetConfig(n_filters=4, ratios=(8, 4), n_lstm_layers=1, causal=False, weight_norm=False, group_norm=True),
    quantizer=QUANTIZER,
)


@pytest.fixture
def codec(tmp_path):
    """A folder with a small codec of one channel."""
    torch.manual_seed(0)
    Encodec(EncodecConfig(sample_rate=RATE, seanet=SEANET, quantizer=QUANTIZER)).save(tmp_path / "mono")
    return tmp_path / "mono"


@pytest.fixture
def windows(tmp_path):
    """A folder with a small codec of two channels, that codes windows with their scales."""
    torch.manual_seed(0)
    WindowedEncodec(WindowedEncodecConfig(codec=WINDOWS, window_length=800, stride=792)).save(tmp_path / "stereo")
    return tmp_path / "stereo"


def write(name, length=3000, rate=RATE, channels=1, level=0.5, subtype="PCM_16"):
    samples = np.random.default_rng(0).uniform(-level, level, (length, channels))
    soundfile.write(name, samples, rate, subtype=subtype)


def swap(old, new):
    return coded(lambda data: data.replace(old, new))


def bytes_of(name, data):
    return lambda folder: (folder / name).write_bytes(data)


def there_and_back(run, name, model, suffix=".nxc"):
    """What encoding and decoding tell, and the sound."""
    code, out, err = run("codec", "encode", name, "-o", f"x{suffix}", "-m", model, "--json")
    assert (code, err) == (0, "")
    back = run("codec", "decode", f"x{suffix}", "-o", "x.wav", "--json", *(["-m", model] if suffix != ".nxc" else []))
    assert (back[0], back[2]) == (0, "")
    return json.loads(out), json.loads(back[1]), Audio.load("x.wav")


# name: (how it is written, channels and length of what comes back, what is said)
SOUNDS = {
    "as the codec has it": ({}, (1, 3000), []),
    "one sample": ({"length": 1}, (1, 1), []),
    "two channels": ({"channels": 2}, (2, 3000), ["2 channels coded one by one"]),
    "six channels": ({"channels": 6}, (6, 3000), ["6 channels coded one by one"]),
    "8 bits": ({"subtype": "PCM_U8"}, (1, 3000), []),
    "192 kHz": ({"rate": 192_000}, (1, 125), ["resampled from 192000 to 8000 Hz"]),
    "11.025 kHz, two channels": (
        {"rate": 11_025, "channels": 2},
        (2, 2177),
        ["resampled from 11025 to 8000 Hz", "2 channels coded one by one"],
    ),
    "silence": ({"level": 0}, (1, 3000), ["silent"]),
    "beyond full scale": (
        {"level": 2, "subtype": "FLOAT"},
        (1, 3000),
        ["peaks at 2, beyond the full scale of 1 that codecs are made for"],
    ),
    "clipped": ({"level": 2}, (1, 3000), []),
    "24 bits": ({"subtype": "PCM_24"}, (1, 3000), []),
}


@pytest.mark.parametrize(("how", "expected", "said"), SOUNDS.values(), ids=SOUNDS.keys())
def test_sounds_of_every_kind(run, codec, how, expected, said):
    write("in.wav", **how)
    told, back, sound = there_and_back(run, "in.wav", codec)
    assert told["notes"] == said and back["notes"] == []
    assert (sound.channels, sound.length) == expected and back["seconds"] == round(expected[1] / RATE, 3)
    assert sound.rate == RATE == back["sample_rate"]
    assert told["bitrate"] == pytest.approx(expected[0] * 3 * 4 * 250 / 1000) and told["codebooks"] == 3
    assert told["weights_hash"] == back["weights_hash"] and told["model"] == str(codec)


@pytest.mark.parametrize(
    ("channels", "said"),
    [(1, ["its one channel coded as two"]), (2, []), (6, ["5.1 channels folded to stereo"])],
)
@pytest.mark.parametrize("length", [1, 3000])
def test_a_codec_of_two_channels(run, windows, channels, said, length):
    write("in.wav", length, channels=channels)
    told, _, sound = there_and_back(run, "in.wav", windows)
    assert told["notes"] == said and (sound.channels, sound.length) == (2, length)


def test_the_sound_is_what_the_codec_makes_of_it(run, codec, monkeypatch):
    monkeypatch.setattr(long_sounds, "PIECE", 0.1)
    write("in.wav", 4001)
    _, _, sound = there_and_back(run, "in.wav", codec)
    import nexus

    model = nexus.load(str(codec))
    whole = model.decode(model.encode(Audio.load("in.wav").tensor()[None]), length=4001)
    assert whole.std() > 1e-3
    torch.testing.assert_close(sound.tensor(), whole[0], atol=1e-5, rtol=0)


def test_ecdc_files(run, codec, windows):
    write("in.wav", 3001)
    told, _, sound = there_and_back(run, "in.wav", codec, ".ecdc")
    assert Path("x.ecdc").read_bytes()[:4] == b"ECDC" and told["bytes"] < 300 and sound.length == 3001
    own = there_and_back(run, "in.wav", codec)[2]
    assert own == sound
    write("two.wav", 3001, channels=2)
    assert there_and_back(run, "two.wav", windows, ".ecdc")[2] == there_and_back(run, "two.wav", windows)[2]
    code, _, err = run("codec", "encode", "two.wav", "-o", "y.ecdc", "-m", codec)
    assert code == 2 and "an .ecdc file of this codec holds one channel, the sound has 2" in err


def test_dac_files(run, tmp_path):
    from nexus.codecs.dac import Dac, DacConfig

    torch.manual_seed(0)
    Dac(DacConfig(sample_rate=RATE, encoder_dim=4, ratios=(2, 4), decoder_dim=16, n_codebooks=3, codebook_size=32,
                  codebook_dim=4)).save(tmp_path / "dac")  # fmt: skip
    write("in.wav", 5001, rate=16_000, channels=2)
    told, back, sound = there_and_back(run, "in.wav", tmp_path / "dac", ".dac")
    assert (sound.channels, sound.length, sound.rate) == (2, 5001, 16_000) == (back["channels"], 5001, 16_000)
    assert (
        told["notes"] == ["resampled from 16000 to 8000 Hz", "2 channels coded one by one"] and told["codebooks"] == 3
    )
    assert np.abs(sound.samples).max() > 1e-3
    own = there_and_back(run, "in.wav", tmp_path / "dac")[2]
    assert own.rate == RATE and own.channels == 2
    code, _, err = run("codec", "encode", "in.wav", "-o", "x.dac", "-m", "nexus/encodec-tiny")
    assert code == 2 and "is a Encodec, and this needs a Dac" in err
    for name in ("x.dac", "x.ecdc"):
        (tmp_path / name).write_bytes(b"\x93NUMPY" + bytes(50))
        code, _, err = run("codec", "decode", name, "-o", "y.wav", "-m", tmp_path / "dac")
        assert code == 2 and name in err and not (tmp_path / "y.wav").exists()


def test_a_language_model_makes_ecdc_files_smaller(run, codec, tmp_path):
    from nexus.codecs.encodec_lm import EncodecLM, EncodecLMConfig

    torch.manual_seed(0)
    lm = EncodecLM(EncodecLMConfig(n_codebooks=3, codebook_size=16, dim=8, n_layers=1, n_heads=2, context=8))
    lm.save(tmp_path / "lm")
    write("in.wav", 1001)
    plain = there_and_back(run, "in.wav", codec, ".ecdc")[2]
    assert run("codec", "encode", "in.wav", "-o", "y.ecdc", "-m", codec, "--lm", "lm")[0] == 0
    code, _, err = run("codec", "decode", "y.ecdc", "-o", "y.wav")
    assert code == 2 and "was made with a language model" in err
    assert run("codec", "decode", "y.ecdc", "-o", "y.wav", "--lm", "lm")[0] == 0
    assert Audio.load("y.wav") == plain
    code, _, err = run("codec", "encode", "in.wav", "-o", "y.nxc", "-m", codec, "--lm", "lm")
    assert code == 2 and "--lm is for .ecdc files" in err


def test_the_file_names_its_weights(run, codec, tmp_path):
    write("in.wav")
    assert run("codec", "encode", "in.wav", "-o", "x.nxc", "-m", codec)[0] == 0
    assert run("codec", "decode", "x.nxc", "-o", "a.wav")[0] == 0
    codec.rename(tmp_path / "moved")
    code, _, err = run("codec", "decode", "x.nxc", "-o", "b.wav")
    assert code == 2 and "mono: no such file or folder" in err and not (tmp_path / "b.wav").exists()
    assert run("codec", "decode", "x.nxc", "-o", "b.wav", "-m", "moved")[0] == 0
    assert Audio.load("a.wav") == Audio.load("b.wav")
    torch.manual_seed(1)
    Encodec(EncodecConfig(sample_rate=RATE, seanet=SEANET, quantizer=QUANTIZER)).save(codec)
    code, _, err = run("codec", "decode", "x.nxc", "-o", "c.wav")
    assert code == 2 and "the codes are of" in err and "--model" in err


def test_fewer_codebooks_or_bits(run, codec):
    write("in.wav")
    told = [
        json.loads(run("codec", "encode", "in.wav", "-o", "x.nxc", "-m", codec, "--json", *options)[1])
        for options in (["--codebooks", 2], ["--bitrate", 2.1], ["--codebooks", 3])
    ]
    assert [row["codebooks"] for row in told] == [2, 2, 3] and [row["bitrate"] for row in told] == [2, 2, 3]
    assert told[0]["bytes"] < told[2]["bytes"]
    assert run("codec", "decode", "x.nxc", "-o", "x.flac", "--rate", 16000)[0] == 0
    assert Audio.load("x.flac").rate == 16000 and Audio.load("x.flac").length == 6000


def test_words_instead_of_json(run, codec):
    write("in.wav", channels=2)
    out = run("codec", "encode", "in.wav", "-o", "x.nxc", "-m", codec)[1]
    assert out.startswith("x.nxc: 0.38 s, ") and out.endswith("\n  2 channels coded one by one\n")
    assert run("codec", "decode", "x.nxc", "-o", "x.opus")[1].endswith("resampled from 8000 to 48000 Hz\n")


def make(*, empty=False, nan=False, cut=False, text=False):
    def before(folder):
        if empty:
            write("in.wav", 0)
        if nan:
            samples = np.zeros(3000, np.float32)
            samples[2000] = np.nan
            soundfile.write("in.wav", samples, RATE, subtype="FLOAT")
        if cut:
            write("in.wav")
            (folder / "in.wav").write_bytes((folder / "in.wav").read_bytes()[:4000])
        if text:
            (folder / "in.wav").write_text("hello")

    return before


def coded(change):
    """A file of codes with its bytes changed."""

    def before(folder):
        Audio(np.random.default_rng(0).uniform(-0.5, 0.5, 3000), RATE).save(folder / "sound.wav")
        from nexus.cli.main import main

        assert main(["codec", "encode", "sound.wav", "-o", "x.nxc", "-m", "mono"]) == 0
        (folder / "x.nxc").write_bytes(change((folder / "x.nxc").read_bytes()))
        (folder / "sound.wav").unlink()

    return before


def vocoder(folder):
    write("in.wav")
    Vocos(VocosConfig(dim=8, hidden_dim=8, n_layers=1)).save(folder / "vocos")


ENCODE, DECODE = "codec encode in.wav -o x.nxc -m mono", "codec decode x.nxc -o out.wav"
BAD = {
    "no file": (None, ENCODE, "in.wav: no such file"),
    "empty": (make(empty=True), ENCODE, "in.wav is empty"),
    "NaN": (make(nan=True), ENCODE, "in.wav is damaged: it holds samples that are not finite"),
    "cut": (make(cut=True), ENCODE, "in.wav is damaged: it ends after"),
    "text": (make(text=True), ENCODE, "in.wav is not a .wav file: it holds text"),
    "sound of another suffix": (None, "codec encode in.txt -o x.nxc", "in.txt"),
    "unknown suffix": (write, "codec encode in.wav -o x.mp3", "must end in one of .nxc, .ecdc"),
    "no such folder": (write, "codec encode in.wav -o gone/x.nxc -m mono", "there is no folder"),
    "unknown model": (write, "codec encode in.wav -o x.nxc -m nexus/encodec-tny", "nearest: nexus/encodec-tiny"),
    "a vocoder": (vocoder, "codec encode in.wav -o x.nxc -m vocos", "vocos is a Vocos, and this needs a Encodec"),
    "bits and codebooks": (write, f"{ENCODE} --bitrate 1 --codebooks 1", "not both"),
    "too many codebooks": (write, f"{ENCODE} --codebooks 4", "takes 1 to 3 codebooks, got 4"),
    "too few bits": (write, f"{ENCODE} --bitrate 0.1", "bandwidth must be 1 to 3 kbps"),
    "five channels for two": (lambda _: write("in.wav", channels=5), ENCODE.replace("mono", "stereo"), "takes 2"),
    "no codes": (None, DECODE, "x.nxc: no such file"),
    "codes that are text": (bytes_of("x.nxc", b"hi"), DECODE, "x.nxc: not a file of codes"),
    "cut codes": (coded(lambda data: data[:-9]), DECODE, "x.nxc: not a file of codes, or cut short"),
    "codes of another head": (swap(b'frames\\": 94', b'frames\\": 99'), DECODE, "bytes of"),
    "more sound than codes": (swap(b'length\\": 3000', b'length\\": 9999'), DECODE, "frames"),
    "ecdc that is none": (bytes_of("x.ecdc", b"x" * 99), DECODE.replace("nxc", "ecdc"), "ECDC"),
    "other weights": (coded(bytes), f"{DECODE} -m stereo", "2 channels each do not make 1"),
    "no sound file": (coded(bytes), "codec decode x.nxc -o out.txt", "must end in one of .wav"),
    "no rate": (coded(bytes), f"{DECODE} --rate 0", "--rate"),
}  # fmt: skip


@pytest.mark.parametrize(("before", "line", "sentence"), BAD.values(), ids=BAD.keys())
def test_refused(run, codec, windows, tmp_path, before, line, sentence):
    if before is write:
        write("in.wav")
    elif before is not None:
        before(tmp_path)
    there = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    run()  # what making the files said is not looked at
    code, out, err = run(*line.split())
    assert code == 2 and out == "" and sentence in " ".join(err.replace("│", " ").split()) and "Traceback" not in err
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == there


def test_stopped_nothing_is_left(run, codec, tmp_path, monkeypatch):
    write("in.wav")

    def stop(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(long_sounds, "encode_long", stop)
    before = set(tmp_path.rglob("*"))
    assert run("codec", "encode", "in.wav", "-o", "x.nxc", "-m", codec)[0] == 130
    assert set(tmp_path.rglob("*")) == before


def test_a_wav_cannot_hold_hours_of_many_channels(tmp_path):
    from nexus.media.audio_blocks import SoundBlocks

    hours = SoundBlocks(rate=48000, channels=2, blocks=iter(()), length=48000 * 3600 * 4)
    with pytest.raises(ValueError, match=r"\.flac holds it"):
        commands.check_size(tmp_path / "x.wav", hours)
    commands.check_size(tmp_path / "x.flac", hours)
    with pytest.raises(ValueError, match=r"\.mp3 holds up to 2 channels"):
        commands.check_size(tmp_path / "x.mp3", SoundBlocks(rate=48000, channels=6, blocks=iter(()), length=9))
