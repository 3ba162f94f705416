"""The commands with the weights that come along, where they are there."""

import json

import pytest

from nexus.cli.main import main
from nexus.hub.source import embedded_names
from nexus.media.audio import Audio
from nexus.media.image import Image
from nexus.media.video import Video

SHORT = {
    "nexus/f5tts-tiny": ["say", "Good evening.", "-o", "a.wav"],
    "nexus/musicgen-tiny": ["music", "calm piano, 70 bpm, C major", "--duration", "1", "-o", "a.wav"],
    "nexus/sound-tiny": ["sound", "rain", "--duration", "1", "-o", "a.wav"],
    "nexus/cogvideox-tiny": ["video", "a red boat crosses the sea", "--frames", "9", "--steps", "2", "-o", "a.mp4"],
}


pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")


def needs(name):
    assert name in embedded_names(), f"{name} does not come along"


def test_a_picture(tmp_path, monkeypatch, capsys):
    needs("nexus/image-tiny")
    monkeypatch.chdir(tmp_path)
    given = ["a red boat on the sea", "--steps", "2", "--seed", "3", "--device", "cpu", "--json"]
    assert main(["image", *given]) == 0
    told = json.loads(capsys.readouterr().out)
    picture = Image.load(told["path"])
    assert told["model"] == "nexus/image-tiny" and told["licence"] == "Apache-2.0"
    assert (picture.width, picture.height) == (told["width"], told["height"]) == (64, 64)
    assert picture.pixels.std() > 20


@pytest.mark.parametrize("name", SHORT)
def test_a_short_clip(name, tmp_path, monkeypatch, capsys):
    needs(name)
    monkeypatch.chdir(tmp_path)
    assert main([*SHORT[name], "--seed", "3", "--device", "cpu", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    media = (Audio if told["path"].endswith("wav") else Video).load(told["path"])
    assert told["model"] == name and len(told["weights_hash"]) == 16 and told["licence"] == "Apache-2.0"
    assert media.seconds == pytest.approx(told["seconds"], abs=0.01) and media.seconds > 0.3


def test_every_model_is_listed_with_its_card(capsys):
    assert main(["models", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert [row["name"] for row in listed] == embedded_names()
    for row in listed:
        assert row["licence"] == "Apache-2.0" and 0 < row["megabytes"] <= 24
    assert main(["models"]) == 0
    table = capsys.readouterr().out
    assert all(row["name"] in table for row in listed)


def test_a_stream_cannot_choose(tmp_path, monkeypatch, capsys):
    needs("nexus/sound-tiny")
    monkeypatch.chdir(tmp_path)
    assert main(["sound", "rain", "--stream", "--candidates", "2", "--device", "cpu"]) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "has no setting 'candidates'; leave --candidates or --stream out" in said and not list(tmp_path.iterdir())
