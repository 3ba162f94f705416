import copy
import json
from fractions import Fraction
from pathlib import Path

import pytest
import yaml

from nexus.film.storyboard import exact, parse_storyboard, read_storyboard, schema

DOCS = Path(__file__).parents[2] / "docs"

GOOD = """
title: The lighthouse
size: [256, 144]
fps: 8
cast:
  keeper: {voice: voices/george.flac}
  gull: {accent: us, speed: 1.1}
score: {prompt: "slow hopeful strings, 80 bpm", under: 1-2}
scenes:
  - shot: a lighthouse
    duration: 4
    say: [{who: keeper, line: "Every night I light the lamp."}]
    sound: [{prompt: "sea waves", at: 0, gain: -12}]
    transition: dissolve
  - shot: a gull
    say:
      - {who: gull, line: "Hello.", at: 0.5}
      - {who: keeper, line: "Hello there."}
"""


def test_what_is_written_is_read(tmp_path):
    (tmp_path / "film.yaml").write_text(GOOD)
    board = read_storyboard(tmp_path / "film.yaml")
    assert board.size == [256, 144] and board.scenes[0].transition == "dissolve"
    assert board.cast["keeper"].voice == str(tmp_path / "voices/george.flac")
    assert board.score_scenes() == (0, 1)
    assert board.scenes[1].say[0].at == 0.5
    (tmp_path / "film.json").write_text(json.dumps(yaml.safe_load(GOOD)))
    assert read_storyboard(tmp_path / "film.json") == board


@pytest.mark.parametrize(
    ("under", "scenes"), [("all", None), ("none", ()), (2, (1,)), ("1-2", (0, 1)), ([2, 1], (1, 0))]
)
def test_the_score_lies_under(under, scenes):
    assert parse_storyboard(_changed(["score", "under"], under)).score_scenes() == scenes


def test_a_name_alone_has_the_usual_voice():
    assert parse_storyboard(_changed(["cast", "gull"], None)).cast["gull"].voice is None


def test_seconds_are_what_was_written():
    assert exact(0.1) == Fraction(1, 10)


def _changed(path, value):
    values = copy.deepcopy(yaml.safe_load(GOOD))
    place = values
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return values


WRONG = [
    (["titel"], "x", "unknown key 'titel'; did you mean 'title'"),
    (["scenes", 0, "shto"], "x", "scene 1: unknown key 'shto'; did you mean 'shot'"),
    (["scenes", 1, "say", 0, "lines"], "x", "scene 2, say 1: unknown key 'lines'; did you mean 'line'"),
    (["scenes", 0, "sound", 0, "gian"], 1, "scene 1, sound 1: unknown key 'gian'; did you mean 'gain'"),
    (["cast", "gull", "sped"], 1.0, "cast, gull: unknown key 'sped'; did you mean 'speed'"),
    (["score", "promt"], "x", "score: unknown key 'promt'; did you mean 'prompt'"),
    (["scenes", 0, "say", 0, "who"], "keper", "scene 1: nobody is called 'keper'; did you mean 'keeper'"),
    (["scenes", 0, "duration"], 0, "scene 1, duration: should be greater than 0, got 0"),
    (["scenes", 0, "duration"], "four", "scene 1, duration: should be a valid number, got 'four'"),
    (["scenes", 0, "duration"], float("nan"), "scene 1, duration"),
    (["scenes", 0, "shot"], " ", "scene 1, shot: it is empty"),
    (["scenes", 0, "shot"], "x" * 601, "scene 1, shot: it has 601 characters; at most 600 are allowed"),
    (["scenes", 0, "say", 0, "line"], "...", "scene 1, say 1, line: it is empty"),
    (["scenes", 0, "transition"], "wipe", "scene 1, transition: should be 'cut', 'dissolve' or 'fade', got 'wipe'"),
    (["scenes", 1, "say", 1, "at"], 0.6, "overlaps the line before it"),
    (["scenes", 1, "sound"], [{"prompt": "x", "at": -1}], "scene 2, sound 1, at: should be greater than or equal to 0"),
    (["scenes", 1], {"shot": "a", "sound": [{"prompt": "x", "at": 9}]}, "outside its scene of 4 s"),
    (["scenes"], [], "scenes: List should have at least 1 item"),
    (["size"], [255, 256], "width and height must be even for MP4; 255 is not, 256 is"),
    (["size"], [16, 256], "size 1: should be greater than or equal to 32, got 16"),
    (["size"], [256], "size: List should have at least 2 items"),
    (["fps"], 0, "fps: should be greater than 0, got 0"),
    (["fps"], -8, "fps: should be greater than 0, got -8"),
    (["score", "under"], "2-7", "the score is under scene 3, but scenes are 1 to 2"),
    (["score", "under"], [0], "the score is under scene 0"),
    (["score", "under"], "often", "score, under: it is all, none, scenes such as 2-4"),
    (["score", "under"], [1.5], "score, under: it is all, none, scenes such as 2-4"),
    (["scenes"], ["a boat"], "scene 1: should be a mapping of keys to values, got 'a boat'"),
]


@pytest.mark.parametrize(("path", "value", "message"), WRONG, ids=[message[:40] for _, _, message in WRONG])
def test_wrong_is_said_in_a_sentence(path, value, message):
    with pytest.raises(ValueError) as error:
        parse_storyboard(_changed(path, value))
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_the_line_of_the_file_is_named(tmp_path):
    (tmp_path / "film.yaml").write_text(GOOD.replace("duration: 4", "durration: 4"))
    with pytest.raises(
        ValueError, match=r"film.yaml, line 11: scene 1: unknown key 'durration'; did you mean 'duration'"
    ):
        read_storyboard(tmp_path / "film.yaml")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("film.yaml", "title: [", "not valid YAML"),
        ("film.json", "{'title': 1}", "not valid JSON"),
        ("film.yaml", "- a", "a storyboard is a mapping"),
        ("film.yaml", "", "a storyboard is a mapping"),
        ("film.txt", "title: x", "a storyboard is a .yaml or .json file"),
    ],
)
def test_not_a_storyboard(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=message):
        read_storyboard(tmp_path / name)


@pytest.mark.parametrize("file", sorted((DOCS.parent / "examples").glob("*.yaml")), ids=lambda file: file.stem)
def test_the_examples_are_storyboards_whose_voices_are_there(file):
    board = read_storyboard(file)
    assert len(board.scenes) >= 3 and board.cast
    assert all(Path(voice.voice).is_file() for voice in board.cast.values() if voice.voice)


def test_the_published_schema_is_this_one():
    assert json.loads((DOCS / "storyboard.schema.json").read_text()) == schema()


def test_the_schema_agrees_with_the_check():
    jsonschema = pytest.importorskip("jsonschema")
    jsonschema.validate(yaml.safe_load(GOOD), schema())
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(_changed(["scenes", 0, "shto"], "x"), schema())
