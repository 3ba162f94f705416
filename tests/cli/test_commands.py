"""What each generating command asks of its model, writes and prints."""

import io
import json
import sys

import numpy as np
import pytest

from nexus.media.audio import Audio
from nexus.media.image import Image
from nexus.media.video import Video

COMMANDS = {
    "say": ("speech.wav", "nexus/f5tts-tiny"),
    "music": ("music.wav", "nexus/musicgen-tiny"),
    "sound": ("sound.wav", "nexus/sound-tiny"),
    "video": ("video.mp4", "nexus/cogvideox-tiny"),
}


@pytest.mark.parametrize(("command", "default", "model"), [(k, *v) for k, v in COMMANDS.items()])
def test_json_file_and_record_agree(run, tmp_path, command, default, model):
    code, out, err = run(command, "a red boat", "--seed", 7, "--json")
    assert (code, err) == (0, "")
    told = json.loads(out)
    assert told["path"] == default and told["model"] == model and told["seed"] == 7
    assert told["weights_hash"] == "0123456789abcdef" and told["licence"] == "MIT" and told["prompt"] == "a red boat"
    assert told["seconds"] > 0 and told["elapsed"] >= 0
    assert json.loads((tmp_path / f"{default}.json").read_text()) == told
    media = (Video if default.endswith("mp4") else Audio).load(tmp_path / default)
    assert media.seconds == pytest.approx(told["seconds"], abs=0.01)
    assert sorted(path.name for path in tmp_path.iterdir()) == [default, f"{default}.json"]


@pytest.mark.parametrize("command", COMMANDS)
def test_a_told_seed_makes_the_same_again(run, tmp_path, command):
    name = COMMANDS[command][0]
    media = Video if name.endswith("mp4") else Audio
    told = json.loads(run(command, "a red boat", "--json")[1])
    first = media.load(tmp_path / name)
    again = json.loads(run(command, "a red boat", "--json", "--seed", told["seed"])[1])
    assert media.load(tmp_path / name) == first and again["seed"] == told["seed"]
    assert json.loads(run(command, "a red boat", "--json")[1])["seed"] != told["seed"]
    assert media.load(tmp_path / name) != first


def test_say_passes_its_options_on(run, models, voice):
    code, out, _ = run(
        "say", "Hello.", "--voice", voice(), "--voice-text", "Hi.", "--speed", 1.5, "--accent", "gb", "-o", "a.flac"
    )
    assert code == 0 and out.startswith("a.flac: 1.00 s, seed ")
    call = models["nexus/f5tts-tiny"].calls[0]
    assert call["voice"].seconds == 3 and call["voice_text"] == "Hi."
    assert (call["speed"], call["accent"], call["prompt"]) == (1.5, "gb", "Hello.")


def test_what_is_not_said_is_left_to_the_model(run, models):
    run("say", "Hello.")
    assert models["nexus/f5tts-tiny"].calls[0] | {"seed": 0} == {
        "prompt": "Hello.", "voice": None, "voice_text": None, "accent": None, "speed": 1.0, "seed": 0
    }  # fmt: skip


def test_music_and_sound(run, models, voice):
    assert run("music", "calm piano", "--duration", 2.5, "--melody", voice(), "--bpm", 96, "--key", "Em")[0] == 0
    assert run("music", "calm piano", "--chords", "Am F")[0] == 0
    assert run("sound", "rain", "--duration", 1, "--model", "nexus/musicgen-other")[0] == 0
    call = models["nexus/musicgen-tiny"].calls[0]
    assert models["nexus/musicgen-tiny"].calls[1]["chords"] == "Am F"
    assert call["duration"] == 2.5 and call["melody"].seconds == 3 and (call["bpm"], call["key"]) == (96, "Em")
    assert models["nexus/musicgen-other"].calls[0]["duration"] == 1


def test_video_counts_frames_from_a_duration(run, models, tmp_path):
    assert run("video", "a boat", "--duration", 1.5, "--steps", 3, "--size", "64x48")[0] == 0
    assert run("video", "a boat", "--frames", 5, "--cache", 0.6)[0] == 0
    first, second = models["nexus/cogvideox-tiny"].calls
    assert (first["frames"], first["steps"], first["size"]) == (9, 3, (48, 64)) and (
        second["frames"],
        second["steps"],
    ) == (5, 20)
    assert (first["cache"], second["cache"]) == (0, 0.6)
    assert Video.load(tmp_path / "video.mp4").length == 5
    for command in ("video", "image"):
        code, _, err = run(command, "a boat", "--cache", 3)
        assert code == 2 and "--cache" in err and "less than or equal to 2" in err


def test_image_passes_its_options_on(run, models, tmp_path):
    given = ("--steps", 7, "--guidance", 1.5, "--size", "64x48", "--negative", "rain", "--solver", "unipc")
    given += ("--cache", 0.3)
    code, out, err = run("image", "a red boat", *given, "--seed", 9, "-o", "a.jpg")
    assert (code, err) == (0, "") and out.startswith("a.jpg: 64x48, seed 9, made in ")
    assert models["nexus/image-tiny"].calls[0] == {
        "prompt": "a red boat", "negative_prompt": "rain", "height": 48, "width": 64, "steps": 7,
        "guidance_scale": 1.5, "solver": "unipc", "cache": 0.3, "seed": 9,
    }  # fmt: skip
    told = json.loads((tmp_path / "a.jpg.json").read_text())
    assert (told["width"], told["height"], told["seed"]) == (64, 48, 9) and "seconds" not in told
    assert Image.load(tmp_path / "a.jpg").width == 64
    assert json.loads(run("image", "a red boat", "--json")[1])["path"] == "image.png"


def test_image_adds_adapters_and_notes_them(run, models, tmp_path, monkeypatch):
    from nexus.hub import adapters

    seen = []
    monkeypatch.setattr(adapters, "add_lora", lambda model, path, weight: seen.append((str(path), weight)))
    monkeypatch.setattr(
        adapters, "load_control", lambda path, model, picture, weight, mode: (str(path), picture, weight, mode)
    )
    monkeypatch.setattr(adapters, "load_picture_prompt", lambda path, model, picture, weight: (path, weight))
    Image(np.zeros((4, 4, 3), np.uint8)).save(tmp_path / "depth.png")
    for name in ("a", "b"):
        (tmp_path / f"{name}.safetensors").touch()
    (tmp_path / "net").mkdir(), (tmp_path / "ip.bin").touch()
    given = ("--lora", "a.safetensors:0.8", "--lora", "b.safetensors", "--control", "depth.png:0.5")
    given += ("--controlnet", "net", "--control-mode", "2", "--like", "depth.png", "--ip-adapter", "ip.bin")
    code, _, err = run("image", "a boat", *given, "--model", "nexus/image-adapted")
    assert (code, err) == (0, "") and seen == [("a.safetensors", 0.8), ("b.safetensors", 1.0)]
    (control, like) = models["nexus/image-adapted"].calls[0]["adapters"]
    assert control[0] == "net" and control[1].width == 4 and control[2:] == (0.5, 2) and like == ("ip.bin", 1.0)
    settings = json.loads((tmp_path / "image.png.json").read_text())["settings"]
    assert settings == {
        "loras": ["a.safetensors:0.8", "b.safetensors"], "controls": ["depth.png:0.5"], "controlnets": ["net"],
        "control_modes": ["2"], "likes": ["depth.png"], "ip_adapters": ["ip.bin"],
    }  # fmt: skip


@pytest.mark.parametrize(
    "given, said",
    [
        (("--control", "none.png"), "none.png: no such picture"),
        (("--control", "."), ".: a folder, where a picture is wanted"),
        (("--control", "in.png", "--controlnet", "net"), "net: no such ControlNet"),
        (("--like", "in.png", "--ip-adapter", "ip.bin"), "ip.bin: no such IP-Adapter"),
        (("--lora", "style:0.5"), "style: no such LoRA"),
        (("--lora", "style.safetensors:much"), "'much' is no weight; write it as style.safetensors:0.8"),
        (
            ("--control", "in.png", "--controlnet", "a", "--controlnet", "b"),
            "one --controlnet for each --control, got 2",
        ),
        (
            ("--control", "in.png", "--control-mode", "canny", "--control-mode", "tile"),
            "one --control-mode for each --control, got 2",
        ),
        (("--like", "in.png"), "give one --ip-adapter for each --like, got 0 for 1"),
        (("--control", "in.png"), "nexus/image-tiny holds no ControlNet"),
    ],
)
def test_adapters_that_cannot_be_are_refused(run, tmp_path, given, said):
    Image(np.zeros((4, 4, 3), np.uint8)).save(tmp_path / "in.png")
    code, _, err = run("image", "a boat", *given)
    assert code == 2 and said in err and not (tmp_path / "image.png").exists()


def test_a_model_without_controls_is_refused_before_they_are_loaded(run, models, tmp_path, monkeypatch):
    Image(np.zeros((4, 4, 3), np.uint8)).save(tmp_path / "in.png")
    (tmp_path / "net").mkdir(), (tmp_path / "ip.bin").touch()
    for given in (("--control", "in.png", "--controlnet", "net"), ("--like", "in.png", "--ip-adapter", "ip.bin")):
        code, _, err = run("image", "a boat", "--model", "nexus/plain", *given)
        assert code == 2 and "nexus/plain is a DiT, and --control and --like need a StableDiffusion" in err
    assert not models["nexus/plain"].calls


def test_what_an_image_model_cannot_do_is_said_by_its_option(run, tmp_path):
    Image(np.zeros((4, 4, 3), np.uint8)).save(tmp_path / "in.png")
    code, _, err = run("image", "a boat", "--image", "in.png")
    assert code == 2 and "has no setting 'image'; leave --image out" in err
    code, _, err = run("image", "a boat", "--mask", "in.png")
    assert code == 2 and "--mask says how --image changes; give --image too" in err
    code, _, err = run("image", "a boat", "--model", "nexus/f5tts-tiny")
    assert code == 2 and "is a F5TTS, and this command needs a PixArt" in err
    assert not (tmp_path / "image.png").exists()


def test_text_from_standard_input(run, models, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO("Read this.\n"))
    assert run("say", "-")[0] == 0
    assert models["nexus/f5tts-tiny"].calls[0]["prompt"] == "Read this."


def test_stream_is_wav_on_standard_output(run, monkeypatch, tmp_path):
    out = io.TextIOWrapper(io.BytesIO())
    monkeypatch.setattr(sys, "stdout", out)
    assert run("say", "Hello.", "--stream", "--seed", 3, "-o", "kept.wav")[0] == 0
    heard = out.buffer.getvalue()
    assert heard[:4] == b"RIFF" and heard[36:40] == b"data"
    samples = np.frombuffer(heard[44:], "<i2") / 32767
    kept = Audio.load(tmp_path / "kept.wav")
    np.testing.assert_allclose(samples, kept.samples[0], atol=1 / 32767)
    assert int.from_bytes(heard[24:28], "little") == kept.rate


def test_stream_alone_leaves_no_file(run, monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO()))
    assert run("say", "Hello.", "--stream")[0] == 0
    assert not list(tmp_path.iterdir())


def test_an_older_file_is_kept_until_the_new_one_is_whole(run, models, tmp_path, monkeypatch):
    assert run("say", "Hello.", "--seed", 1)[0] == 0
    before = (tmp_path / "speech.wav").read_bytes()

    def stop(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(type(models["nexus/f5tts-tiny"]), "work", stop)
    assert run("say", "Hello.", "--seed", 2)[0] == 130
    assert (tmp_path / "speech.wav").read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["speech.wav", "speech.wav.json"]


def test_progress_reaches_a_terminal_only():
    from rich.console import Console

    from nexus.cli.progress import Watch

    for terminal in (True, False):
        text = io.StringIO()
        with Watch(Console(file=text, force_terminal=terminal, width=100)) as watch:
            watch.stage("loading it")
            watch.stage("speaking with it")
            watch(1, 4)
            watch.bar.refresh()
        assert ("speaking with it" in text.getvalue() and "25%" in text.getvalue()) == terminal


def test_film_hands_over_and_tells(run, tmp_path, monkeypatch):
    from types import SimpleNamespace

    from nexus.film import rendering

    calls = []

    def render(storyboard, out, *, progress, **settings):
        calls.append((storyboard.name, out.name, settings))
        progress(1.0, 2.0, "shot 1")
        out.write_bytes(b"film")
        return SimpleNamespace(path=out, files=(out,), made=("a", "b"), reused=("c",), manifest={"duration": 4.0})

    monkeypatch.setattr(rendering, "render", render)
    (tmp_path / "board.yaml").write_text("title: x\n")
    code, out, err = run("film", "board.yaml", "--model", "music=./mine", "--cache", "kept", "--seed", 4, "--json")
    assert (code, err) == (0, "")
    assert json.loads(out) | {"elapsed": 0} == {
        "path": "film.mp4", "files": ["film.mp4"], "seed": 4, "made": 2, "reused": 1, "elapsed": 0,
        "film": {"duration": 4.0},
    }  # fmt: skip
    name, written, settings = calls[0]
    assert (name, written, str(settings["cache"])) == ("board.yaml", "film.mp4", "kept")
    assert settings["models"] == {"music": "./mine"} and settings["device"] == "auto"
    assert run("film", "board.yaml")[1].startswith("film.mp4: 4.0 s, 2 made, 1 reused")


def test_training_on_a_device_that_is_not_there_is_refused(run):
    code, _, err = run("train", "vocos-tiny", "--device", "tpu")
    assert code == 2 and "one of auto, cpu, cuda" in err


def test_building_a_world_tells_what_it_made(run, monkeypatch):
    monkeypatch.setattr("nexus.data.build.build", lambda *_, **__: None)
    code, out, _ = run("data", "build", "sound", "--hours", "0.5", "--seed", 3, "-o", "worlds", "--json")
    assert code == 0
    assert json.loads(out) == {"world": "sound", "path": "worlds", "hours": 0.5, "seed": 3}
