import copy
from types import SimpleNamespace

import numpy as np
import pytest

from nexus.film.plan import KINDS, plan
from nexus.film.storyboard import parse_storyboard
from nexus.media.audio import Audio


def _models(weights="0", config="0"):
    hashes = {"weights_hash": weights, "config_hash": config}
    return {kind: SimpleNamespace(name=f"fake/{kind}", **hashes, licence="MIT") for kind in KINDS}


def _keys(board, seed=0, **models):
    return [asset.key for asset in plan(parse_storyboard(board), _models(**models), seed)]


def _changes(before, after):
    return sum(a != b for a, b in zip(before, after, strict=True))


def test_every_asset_has_its_own_key(fake):
    keys = _keys(fake.BOARD)
    assert len(keys) == len(set(keys)) == fake.ASSETS
    assert keys == _keys(fake.BOARD)


@pytest.mark.parametrize(
    ("path", "value", "changed"),
    [
        (["scenes", 0, "say", 0, "line"], "Good night.", 1),
        (["scenes", 0, "shot"], "a red boat", 1),
        (["scenes", 2, "sound", 0, "prompt"], "a storm", 1),
        (["score", "prompt"], "wild drums", 1),
        (["scenes", 1, "seed"], 7, 1),
        (["cast", "bob"], {"speed": 1.2}, 1),
        (["cast", "ann"], {"accent": "gb"}, 2),
        (["scenes", 1, "duration"], 9, 0),
        (["scenes", 1, "transition"], "cut", 0),
        (["scenes", 1, "sound", 0, "gain"], 3, 0),
        (["size"], [128, 128], 0),
        (["title"], "Another", 0),
    ],
)
def test_a_key_depends_on_what_changes_the_asset_only(fake, path, value, changed):
    board = copy.deepcopy(fake.BOARD)
    place = board
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    assert _changes(_keys(fake.BOARD), _keys(board)) == changed


def test_other_weights_settings_and_seeds_change_all(fake):
    assert _changes(_keys(fake.BOARD), _keys(fake.BOARD, weights="1")) == fake.ASSETS
    assert _changes(_keys(fake.BOARD), _keys(fake.BOARD, config="1")) == fake.ASSETS
    assert _changes(_keys(fake.BOARD), _keys(fake.BOARD, seed=1)) == fake.ASSETS


def test_the_same_words_twice_are_two_takes(fake):
    board = {"title": "x", "scenes": [{"shot": "a boat"}, {"shot": "a boat"}]}
    first, second = plan(parse_storyboard(board), _models())
    assert first.seed != second.seed


def test_a_voice_counts_by_its_content(fake, tmp_path):
    def keys(path, pitch):
        Audio(np.sin(np.arange(48000) * pitch)[None] * 0.3, 24000).save(path)
        return _keys({**fake.BOARD, "cast": {"ann": {"voice": str(path)}, "bob": {}}})

    one = keys(tmp_path / "a.wav", 0.05)
    assert keys(tmp_path / "b.wav", 0.05) == one
    assert _changes(one, keys(tmp_path / "a.wav", 0.06)) == 2


def test_voices_that_cannot_be_used_are_refused(fake, tmp_path):
    def board(voice):
        return {**fake.BOARD, "cast": {"ann": {"voice": str(voice)}, "bob": {}}}

    Audio.silence(4800, 24000).save(tmp_path / "short.wav")
    with pytest.raises(ValueError, match=r"cast, ann: the voice in .*short.wav lasts 0.2 s; 3 to 6 s are best"):
        _keys(board(tmp_path / "short.wav"))
    with pytest.raises(FileNotFoundError, match=r"cast, ann: the voice file .*none.wav does not exist"):
        _keys(board(tmp_path / "none.wav"))
