"""Every wrong input ends in a sentence on stderr, exit code 2 or 1, and no file."""

import errno
import io
import re
import sys

import numpy as np
import pytest
import soundfile
import torch
from safetensors.torch import load_file, save_file

from nexus.cli.main import main
from nexus.codecs.vocos import Vocos, VocosConfig
from nexus.media.audio import Audio
from nexus.media.image import Image
from nexus.models.audio.f5tts import F5TTS, F5TTSConfig
from nexus.models.audio.f5tts_dit import DiTConfig
from nexus.nn.checkpoint import save_folder

RATE = 8000


def nan_voice(folder):
    samples = np.random.default_rng(0).uniform(-0.3, 0.3, 3 * RATE).astype(np.float32)
    samples[1000] = np.nan
    soundfile.write(folder / "nan.wav", samples, RATE, subtype="FLOAT")


def voice(name, seconds, level=0.3):
    return lambda folder: soundfile.write(
        folder / name, level * np.random.default_rng(0).uniform(-1, 1, round(seconds * RATE)), RATE
    )


def text(name, content):
    return lambda folder: (folder / name).write_text(content)


def pictures(folder):
    Image(np.zeros((16, 8, 3), np.uint8)).save(folder / "a.png")
    Image(np.zeros((8, 8, 3), np.uint8)).save(folder / "b.png")


BOARD = """
title: A test
cast: {a: {}}
scenes:
  - shot: a boat
    duration: 2
    say: [{who: a, line: "Hello."}]
"""

TWO_AT_ONCE = BOARD.replace(
    'say: [{who: a, line: "Hello."}]', 'say: [{who: a, line: "Hello.", at: 0}, {who: a, line: "Yes.", at: 0}]'
)


def weights(change):
    """A small F5TTS as our own folder, with one tensor changed."""

    def make(folder):
        config = F5TTSConfig(network=DiTConfig(n_symbols=3, dim=16, n_layers=1, n_heads=2, text_dim=4, text_layers=1))
        save_folder(F5TTS(config), folder / "mine", kind="f5tts", config=config)
        tensors = load_file(folder / "mine" / "model.safetensors")
        change(tensors)
        save_file(tensors, folder / "mine" / "model.safetensors")

    return make


LOST = "network.proj_out.bias"


def misshape(tensors):
    tensors[LOST] = torch.zeros(3)


def vocoder_unread(folder):
    """A folder of another kind, whose tensors would not be readable."""
    Vocos(VocosConfig(dim=8, hidden_dim=8, n_layers=1)).save(folder / "mine")
    (folder / "mine" / "model.safetensors").write_bytes(b"damaged")


class Payload:
    def __reduce__(self):
        return (open, ("executed", "w"))


def pickled(folder):
    torch.save({"weights": Payload()}, folder / "evil.pt")


# name: (files made first, command line, exit code, words of the sentence)
CASES = {
    "unknown model": (None, "say hi --model nexus/f5-tiny", 2, "unknown model 'nexus/f5-tiny'"),
    "missing folder as model": (None, "say hi --model ./nothing", 2, "./nothing: no such file or folder"),
    "model of another kind": (None, "say hi --model nexus/musicgen-tiny", 2, "is a MusicGen, and this command needs"),
    "another kind, unread": (vocoder_unread, "say hi --model ./mine", 2, "is a Vocos, and this command needs a F5TTS"),
    "missing tensor": (weights(lambda t: t.pop(LOST)), "say hi --model ./mine", 2, f"1 missing: {LOST}"),
    "misshapen tensor": (weights(misshape), "say hi --model ./mine", 2, f"{LOST} is [3]"),
    "pickle that executes code": (pickled, "say hi --model evil.pt", 2, "evil.pt: refused"),
    "empty folder as model": (lambda folder: (folder / "mine").mkdir(), "say hi --model ./mine", 2, "no known layout"),
    "empty prompt": (None, ["music", " "], 2, "the text is empty"),
    "prompt too long": (None, ["music", "la " * 1000], 2, "3000 characters, at most 2000"),
    "text too long": (None, ["say", "la " * 10000], 2, "30000 characters, at most 20000"),
    "missing folder": (None, "say hi -o gone/further/a.wav", 2, "there is no folder"),
    "a folder as output": (lambda folder: (folder / "a.wav").mkdir(), "say hi -o a.wav", 2, "is a folder"),
    "unknown suffix": (None, "say hi -o a.txt", 2, "must end in one of .wav"),
    "sound suffix for video": (None, "video boat -o a.wav", 2, "must end in one of .mp4"),
    "voice missing": (None, "say hi --voice none.wav", 2, "none.wav"),
    "voice too short": (voice("v.wav", 0.2), "say hi --voice v.wav", 2, "lasts 0.2 s; a voice of 1 to 60 s"),
    "voice too long": (voice("v.wav", 600), "say hi --voice v.wav", 2, "lasts 600.0 s; a voice of 1 to 60 s"),
    "voice silent": (voice("v.wav", 3, 0), "say hi --voice v.wav", 2, "v.wav is silent"),
    "voice with NaN": (nan_voice, "say hi --voice nan.wav", 2, "finite"),
    "voice that is text": (text("v.wav", "hello"), "say hi --voice v.wav", 2, "v.wav"),
    "transcript without voice": (None, "say hi --voice-text hello", 2, "give --voice too"),
    "speed out of range": (None, "say hi --speed 9", 2, "'--speed': Input should be less than or equal to 4"),
    "speed not a number": (None, "say hi --speed fast", 2, "valid number"),
    "unknown accent": (None, "say hi --accent fr", 2, "'fr'"),
    "negative seed": (None, "say hi --seed -1", 2, "--seed"),
    "duration too long": (None, "music calm --duration 1000", 2, "at most 30 s, got 1000"),
    "no duration": (None, "music calm --duration 0", 2, "--duration"),
    "melody missing": (None, "music calm --melody none.wav", 2, "none.wav"),
    "frames and duration": (None, "video boat --frames 5 --duration 1", 2, "give one of them"),
    "size that is none": (None, "video boat --size big", 2, "'big' is not WIDTHxHEIGHT"),
    "no steps": (None, "image boat --steps 0", 2, "--steps"),
    "a million steps": (None, "image boat --steps 1000000", 2, "--steps"),
    "too much guidance": (None, "image boat --guidance 1000", 2, "--guidance"),
    "mask of another size": (
        pictures,
        "image boat --image a.png --mask b.png",
        2,
        "of the image's size, 8x16, got 8x8",
    ),
    "mask that is black": (pictures, "image boat --image b.png --mask b.png", 2, "the mask is black everywhere"),
    "mask and size": (pictures, "image boat --image b.png --mask b.png --size 16x16", 2, "keeps its size, 8x8"),
    "picture missing": (None, "image boat --image none.png", 2, "none.png"),
    "picture that is text": (text("a.png", "hello"), "image boat --image a.png", 2, "a.png"),
    "control picture missing": (None, "image boat --control none.png", 2, "none.png: no such picture"),
    "LoRA missing": (None, "image boat --lora none.safetensors:0.5", 2, "none.safetensors: no such LoRA"),
    "setting that the model has not": (None, "say hi --stream --accent gb", 2, "has no setting 'accent'"),
    "film model without kind": (text("a.yaml", "title: x"), "film a.yaml --model x", 2, "is not KIND=NAME"),
    "film model of no kind": (text("a.yaml", BOARD), "film a.yaml --model smell=x", 2, "'smell'"),
    "storyboard with a misspelt key": (text("a.yaml", BOARD.replace("shot", "shoot")), "film a.yaml", 2, "shoot"),
    "unknown speaker": (text("a.yaml", BOARD.replace("who: a", "who: b")), "film a.yaml", 2, "'b'"),
    "overlapping lines": (text("a.yaml", TWO_AT_ONCE), "film a.yaml", 2, "line"),
    "zero-length scene": (text("a.yaml", BOARD.replace("duration: 2", "duration: 0")), "film a.yaml", 2, "duration"),
    "film into a missing folder": (text("a.yaml", BOARD), "film a.yaml -o gone/film.mp4", 2, "there is no folder"),
    "model that cannot stream": (None, "sound rain --stream --model nexus/sound-tiny", 2, "cannot stream"),
    "stream and json": (None, "say hi --stream --json", 2, "both want standard output"),
    "no command": (None, "sing hi", 2, "No such command 'sing'"),
    "no text": (None, "say", 2, "Missing argument"),
    "unknown option": (None, "say hi --loud", 2, "--loud"),
    "storyboard missing": (None, "film none.yaml", 2, "none.yaml: there is no such storyboard"),
    "unknown recipe": (None, "train f5tts-tinny", 2, "unknown recipe 'f5tts-tinny'; nearest: f5tts-tiny"),
    "recipe file missing": (None, "train mine.py", 2, "there is no recipe file mine.py"),
    "recipe file without recipe": (text("mine.py", "x = 1\n"), "train mine.py", 2, "defines no recipe"),
    "unknown setting": (None, "train vocos-tiny loop.stp=3", 2, "unknown field 'stp'"),
    "unknown world": (None, "data build musik -o w", 2, "unknown world 'musik'; there are music"),
    "no hours": (None, "data build music -o w --hours 0", 2, "--hours"),
    "a folder of something else": (text("a.txt", "x"), "data build music -o .", 2, "is not empty"),
    "unknown card": (None, "models nexus/nothing", 2, "unknown model 'nexus/nothing'"),
}


@pytest.mark.parametrize(("before", "line", "expected", "sentence"), CASES.values(), ids=CASES.keys())
def test_bad_input(run, tmp_path, before, line, expected, sentence):
    if before is not None:
        before(tmp_path)
    made = set(tmp_path.rglob("*"))
    code, out, err = run(*(line.split() if isinstance(line, str) else line))
    assert code == expected and out == ""
    assert sentence in " ".join(err.replace("│", " ").split()) and "Traceback" not in err
    assert set(tmp_path.rglob("*")) == made


def test_a_full_disk(run, tmp_path, monkeypatch):
    def full(self, path, bitrate=None):
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(Audio, "save", full)
    code, out, err = run("say", "hi")
    assert (code, out) == (1, "") and err == "nexus: speech.wav: no space left on device\n"
    assert not list(tmp_path.iterdir())


def test_a_bug_is_told_as_one(run, models, monkeypatch):
    run("say", "hi")

    def broken(*args, **kwargs):
        raise AttributeError("'NoneType' object has no attribute 'x'")

    monkeypatch.setattr(type(models["nexus/f5tts-tiny"]), "generate", broken)
    code, _, err = run("say", "hi")
    assert code == 1 and "NEXUS_DEBUG=1" in err and "Traceback" not in err
    monkeypatch.setenv("NEXUS_DEBUG", "1")
    code, _, err = run("say", "hi")
    assert code == 1 and "Traceback" in err


def test_text_that_is_not_utf8(run, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"\xff\xfe\x00"), encoding="utf-8"))
    code, _, err = run("say", "-")
    assert code == 2 and "not UTF-8" in err


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (MemoryError(), 1, "out of memory"),
        (ModuleNotFoundError("No module named 'accelerate'", name="accelerate"), 1, r"'nexus-media\[train\]'"),
        (PermissionError(errno.EACCES, "Permission denied", "a.wav"), 1, "a.wav: permission denied"),
        (KeyboardInterrupt(), 130, ""),
    ],
)
def test_failures(run, models, monkeypatch, error, code, said):
    run("say", "hi")

    def fail(*args, **kwargs):
        raise error

    monkeypatch.setattr(type(models["nexus/f5tts-tiny"]), "generate", fail)
    ended, _, err = run("say", "hi")
    assert ended == code and re.search(said, err)


def test_help_is_not_an_error(capsys):
    assert main(["--help"]) == 0 and main(["say", "--help"]) == 0 and main(["data", "build", "--help"]) == 0
    assert "--voice-text" in capsys.readouterr().out
