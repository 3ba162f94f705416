import json
import warnings

import pytest

from nexus.data.build import build
from nexus.media.audio import Audio
from nexus.media.video import Video


def read(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_sound_is_built_resumed_and_read_by_lhotse(tmp_path):
    class Stopped(Exception):
        pass

    def stop(done, total):
        if done == 2:
            raise Stopped

    folder = tmp_path / "sound"
    with pytest.raises(Stopped):
        build("sound", folder, hours=16 / 3600, progress=stop)
    kept = {path: path.stat().st_mtime_ns for path in folder.rglob("*.flac")}
    assert len(kept) == 2
    seen = []
    build("sound", folder, hours=16 / 3600, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(i, 4) for i in range(1, 5)]
    assert all(path.stat().st_mtime_ns == time for path, time in kept.items())
    cuts = read(folder / "train.jsonl")
    assert len(cuts) == 3 and len(read(folder / "valid.jsonl")) == 1
    audio = Audio.load(folder / cuts[0]["recording"]["sources"][0]["source"])
    assert audio.length == cuts[0]["recording"]["num_samples"] and audio.rate == 24000
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        lhotse = pytest.importorskip("lhotse")
        cut = lhotse.CutSet.from_file(folder / "train.jsonl")[0]
        assert cut.supervisions[0].text == cuts[0]["supervisions"][0]["text"] and cut.duration == 4.0


@pytest.mark.emoji
def test_the_storybook_is_built(tmp_path):
    build("storybook", tmp_path / "new" / "folder", hours=8 / 3600, seed=2)
    line = read(tmp_path / "new" / "folder" / "train.jsonl")[0]
    video = Video.load(tmp_path / "new" / "folder" / line["video"])
    assert video.length == 33 and line["caption"]


def test_wrong_wishes_are_refused_before_anything_is_written(tmp_path):
    with pytest.raises(ValueError, match="music, sound, storybook"):
        build("poetry", tmp_path / "x", hours=1)
    with pytest.raises(ValueError, match="above 0"):
        build("sound", tmp_path / "x", hours=0)
    assert not (tmp_path / "x").exists()
    build("sound", tmp_path / "y", hours=1 / 3600)
    with pytest.raises(ValueError, match="another folder"):
        build("sound", tmp_path / "y", hours=1 / 3600, seed=1)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear")
    with pytest.raises(ValueError, match="not empty"):
        build("sound", tmp_path / "mine", hours=1)
