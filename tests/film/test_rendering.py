import copy
import json
import subprocess
import sys
from pathlib import Path

import av
import pytest

from nexus.film import render
from nexus.film.cache import Cache
from nexus.media.audio import Audio
from nexus.media.video import Video

SCRIPT = """
import sys
sys.path.insert(0, sys.argv[1])
import fakes
from nexus.film import render
render(fakes.BOARD, sys.argv[2], cache=sys.argv[3], models=fakes.fakes(sys.argv[4], die_at=int(sys.argv[5])))
"""


@pytest.fixture(scope="module")
def film(fake, tmp_path_factory):
    folder = tmp_path_factory.mktemp("film")
    steps = []
    result = render(
        fake.BOARD,
        folder / "film.mp4",
        cache=folder / "cache",
        models=fake.fakes(folder / "log"),
        progress=lambda *step: steps.append(step),
        keep_stems=True,
    )
    return folder, result, steps


def test_a_film_and_what_lies_beside_it(film, fake):
    folder, result, _ = film
    assert len(result.made) == fake.ASSETS and not result.reused
    video = Video.load(folder / "film.mp4")
    assert (video.width, video.height, video.fps) == (64, 48, 8)
    assert video.length == result.timeline.frames
    assert video.audio is not None and abs(video.audio.duration - video.duration) <= 1 / video.fps
    assert abs(video.audio.loudness() + 16) < 0.5
    assert "Good evening." in (folder / "film.srt").read_text()
    assert (folder / "film.vtt").read_text().startswith("WEBVTT")
    for name in ("dialogue", "music", "effects"):
        assert Audio.load(folder / "film-stems" / f"{name}.wav").length == result.timeline.length
    with av.open(str(folder / "film.mp4")) as file:
        assert len(file.streams.subtitles) == 1
        assert [chapter["metadata"]["title"] for chapter in file.chapters()] == ["a boat", "a cat", "a tree"]
    assert not [path for path in folder.iterdir() if path.name.startswith(".")]


def test_the_manifest_names_everything(film, fake):
    folder, result, _ = film
    facts = json.loads((folder / "film.json").read_text())
    assert facts == json.loads(json.dumps(result.manifest))
    assert len(facts["assets"]) == fake.ASSETS
    line = next(asset for asset in facts["assets"] if asset["prompt"] == "And to you.")
    spoken = next(line for line in result.timeline.lines if line.text == "And to you.")
    assert line["times"][0]["start"] == pytest.approx(spoken.start_sample / 48000, abs=1e-6)
    assert line["model"] == "fake/speech" and line["weights_hash"] == "0" * 16 and line["licence"] == "Apache-2.0"
    assert facts["licence"]["use"] == "commercial"


def test_progress_only_goes_forward_and_ends(film):
    _, _, steps = film
    done = [step[0] for step in steps]
    assert done == sorted(done)
    assert done[-1] == steps[-1][1]
    assert any("line of scene 2" in step[2] for step in steps)


def test_a_second_run_makes_nothing(film, fake):
    folder, first, _ = film
    again = render(fake.BOARD, folder / "b.mp4", cache=folder / "cache", models=fake.fakes(folder / "log2"))
    assert not again.made and len(again.reused) == fake.ASSETS
    assert not (folder / "log2").exists()
    assert again.timeline == first.timeline
    # x264 spends its bits otherwise in one run of a thousand, on one thread too; another take differs by 50.
    pictures = [Video.load(folder / name).frames.astype(float) for name in ("b.mp4", "film.mp4")]
    assert abs(pictures[0] - pictures[1]).mean() < 8


def test_one_changed_line_makes_one_line(film, fake):
    folder, first, _ = film
    board = copy.deepcopy(fake.BOARD)
    board["scenes"][1]["say"][1]["line"] = "And to you, my good old friend, and to all of yours."
    changed = render(board, folder / "c.mp4", cache=folder / "cache", models=fake.fakes(folder / "log3"))
    assert [(asset.kind, asset.scene, asset.index) for asset in changed.made] == [("speech", 1, 1)]
    assert changed.timeline.frames > first.timeline.frames


def test_another_seed_gives_other_takes(film, fake):
    folder, _, _ = film
    other = render(fake.BOARD, folder / "d.mp4", cache=folder / "cache", models=fake.fakes(folder / "log4"), seed=1)
    assert len(other.made) == fake.ASSETS


def test_a_damaged_entry_is_made_again(film, fake):
    folder, first, _ = film
    victim = next(asset for asset in first.made if asset.kind == "video")
    path = Cache(folder / "cache").path(victim.key)
    path.write_bytes(path.read_bytes()[:-40])
    again = render(fake.BOARD, folder / "e.mp4", cache=folder / "cache", models=fake.fakes(folder / "log5"))
    assert [asset.key for asset in again.made] == [victim.key]


def test_killed_and_started_again_makes_nothing_twice(fake, tmp_path):
    log, out = tmp_path / "log", tmp_path / "film.mp4"

    def run(die_at: int) -> int:
        script = [sys.executable, "-c", SCRIPT, str(Path(__file__).parent), str(out)]
        return subprocess.run([*script, str(tmp_path / "cache"), str(log), str(die_at)], capture_output=True).returncode

    for die_at in (2, 6):  # in the middle of a line, and of a shot
        assert run(die_at) == -9
        assert not out.exists()
    assert run(0) == 0
    calls = log.read_text().splitlines()
    twice = {call for call in calls if calls.count(call) > 1}
    assert twice == {calls[1], calls[5]}  # only what was being made when the process died
    assert len(set(calls)) == fake.ASSETS
    assert Video.load(out).length > 0


def test_a_stop_leaves_nothing_half_written(fake, tmp_path):
    def stop(done, total, what):
        if what.startswith("mixing"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        render(
            fake.BOARD,
            tmp_path / "film.mp4",
            cache=tmp_path / "cache",
            models=fake.fakes(tmp_path / "log"),
            progress=stop,
        )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cache", "log"]


def test_wrong_before_any_work(fake, tmp_path):
    models = fake.fakes(tmp_path / "log")
    with pytest.raises(FileNotFoundError, match="does not exist"):
        render(fake.BOARD, tmp_path / "no" / "film.mp4", cache=tmp_path / "cache", models=models)
    with pytest.raises(ValueError, match=r"\.mp4"):
        render(fake.BOARD, tmp_path / "film.txt", cache=tmp_path / "cache", models=models)
    with pytest.raises(ValueError, match="did you mean 'music'"):
        render(fake.BOARD, tmp_path / "film.mp4", cache=tmp_path / "cache", models={"musik": "x"})
    with pytest.raises(ValueError, match="unknown model"):
        render(fake.BOARD, tmp_path / "film.mp4", cache=tmp_path / "cache", models={**models, "video": "nexus/nothing"})
    with pytest.raises(ValueError, match="is a MusicGen; the film's video needs a CogVideoX"):
        wrong = {**models, "video": "nexus/sound-tiny"}
        render(fake.BOARD, tmp_path / "film.mp4", cache=tmp_path / "cache", models=wrong)
    assert not (tmp_path / "log").exists()


def test_a_non_commercial_model_marks_the_film(fake, tmp_path):
    models = fake.fakes(tmp_path / "log")
    models["music"] = fake.Fake("music", tmp_path / "log", licence="CC-BY-NC-4.0")
    result = render(fake.BOARD, tmp_path / "film.mp4", cache=tmp_path / "cache", models=models)
    assert result.manifest["licence"]["use"] == "non-commercial"
    assert result.manifest["licence"]["non_commercial_models"] == ["fake/music"]
    with av.open(str(tmp_path / "film.mp4")) as file:
        assert "non-commercial" in file.metadata["comment"]
