"""What `nexus eval` asks for, writes and prints; what is measured has its own tests."""

import json
import re

import numpy as np
import pytest

from nexus.media import Audio, Video
from nexus.metrics import evaluate_clap, evaluate_image, evaluate_music, evaluate_sound, evaluate_speech, evaluate_video
from nexus.metrics.figures import Card, Evaluation, Item, figure

CARD = Card(judge="a judge", version="1", weights="", items=0, resampling="", crop="", seed=0)
SOUND = Audio(np.full(800, 0.25, np.float32), 8000)


def evaluation(kind, model, items, shift=0.0, version="1"):
    card = Card(**{**vars(CARD), "version": version})
    values = [i + shift for i in range(items)]
    return Evaluation(
        kind=kind, model=model, data="valid", baselines={"the data": (figure("likeness", [9.0, 9.0], unit="dB",
        better="higher", card=card),)}, left_out=("PESQ wants the package pesq",),
        figures=(figure("likeness", values, unit="dB", better="higher", card=card),),
        items=tuple(Item(prompt=f"item {i}", made=SOUND, reference=None, values={"likeness": v}, note="")
                    for i, v in enumerate(values)),
    )  # fmt: skip


@pytest.fixture
def calls(monkeypatch):
    """The evaluations are told apart by what they were asked; a model named "better" is better by 1."""
    made = []

    def fake(kind, asked=None):
        def evaluate(model, *data, items, seed, progress, **settings):
            name = model.info.name
            made.append({"kind": asked or kind, "model": name, "data": data, "items": items, "seed": seed} | settings)
            progress(1, 1, "judging")
            return evaluation(kind, name, items, 1.0 * ("better" in name), "2" if "newer" in name else "1")

        return evaluate

    monkeypatch.setattr(evaluate_speech, "evaluate_speech", fake("speech"))
    monkeypatch.setattr(evaluate_music, "evaluate_music", fake("music"))
    monkeypatch.setattr(evaluate_sound, "evaluate_sound", fake("sound"))
    monkeypatch.setattr(evaluate_clap, "evaluate_clap_music", fake("music", "clap music"))
    monkeypatch.setattr(evaluate_clap, "evaluate_clap_sound", fake("sound", "clap sound"))
    monkeypatch.setattr(evaluate_video, "evaluate_video", fake("video"))
    monkeypatch.setattr(evaluate_image, "evaluate_image", fake("image"))
    return made


def test_an_evaluation_is_written_and_told(run, calls, tmp_path):
    code, out, err = run("eval", "sound", "--items", 3, "--seed", 5, "-o", "out")
    assert (code, err) == (0, "")
    assert calls == [
        {"kind": "sound", "model": "nexus/sound-tiny", "data": ("valid",), "items": 3, "seed": 5, "fad": None}
    ]
    assert "1 dB (0 to 2)" in out and "left out: PESQ wants the package pesq" in out and "out/report.html" in out
    names = sorted(path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*.*"))
    assert names == ["evaluation.json", *(f"media/00{i}-made.wav" for i in range(3)), "report.html"]
    told = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert told["items"][1] | {"values": {}} == {
        "prompt": "item 1", "values": {}, "note": "", "made": "media/001-made.wav", "reference": None
    }  # fmt: skip
    assert "item 2" in (tmp_path / "out" / "report.html").read_text()


def test_options_are_passed_on(run, calls, tmp_path):
    assert run("eval", "music", "--items", 2, "--duration", 5, "--data", "train", "--fad", "whisper", "-o", "a")[0] == 0
    assert run("eval", "speech", "--items", 2, "--corpus", "words", "--data", "valid_unseen_voice", "-o", "b")[0] == 0
    assert calls[0]["data"] == ("train",) and calls[0]["seconds"] == 5 and calls[0]["fad"] == "whisper"
    assert [str(part) for part in calls[1]["data"]] == ["words", "valid_unseen_voice"]


@pytest.mark.parametrize("kind", ["speech", "music", "sound", "video", "image"])
def test_every_kind_takes_a_split(run, calls, kind):
    assert run("eval", kind, "--items", 2, "--data", "train", "-o", "out")[0] == 0
    assert calls[0]["kind"] == kind and calls[0]["data"][-1] == "train"


@pytest.mark.parametrize("kind", ["music", "sound"])
def test_clap_is_measured_as_what_it_is(run, calls, kind):
    line = ("eval", kind, "--items", 2, "--model", "nexus/clap-tiny", "-o", "out")
    code, _, err = run(*line, "--fad", "whisper")
    assert code and "leave --fad away" in err
    for pair in (("nexus/clap-tiny", "nexus/musicgen-tiny"), ("nexus/musicgen-tiny", "nexus/clap-tiny")):
        code, _, err = run("eval", kind, "--items", 2, "--model", pair[0], "--against", pair[1], "-o", "out")
        assert code and f"{pair[1]} is a" in err and not calls, "refused before anything is measured"
    code, _, err = run(*line)
    assert (code, err) == (0, "")
    assert [call["kind"] for call in calls] == [f"clap {kind}"] and "fad" not in calls[0]


def test_against_another_model(run, calls, tmp_path):
    line = ["eval", "music", "--items", 4, "--model", "nexus/musicgen-better", "--against", "nexus/musicgen-tiny"]
    code, out, err = run(*line, "--json", "-o", "out")
    assert (code, err) == (0, "")
    (gap,) = json.loads(out)["differences"]
    assert gap == {"name": "likeness", "value": 1, "low": 1, "high": 1, "winner": "first"}
    assert json.loads((tmp_path / "out/against/evaluation.json").read_text())["model"] == "nexus/musicgen-tiny"


def test_figures_of_other_protocols_are_not_compared(run, calls):
    line = ["eval", "music", "--items", 4, "--against", "nexus/musicgen-newer"]
    code, out, _ = run(*line, "-o", "words")
    assert code == 0 and "protocols differ in version ('1' and '2')" in " ".join(out.split())
    (gap,) = json.loads(run(*line, "--json", "-o", "lines")[1])["differences"]
    assert "protocols differ" in gap["not_compared"]


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        (
            "speech --model nexus/musicgen-tiny",
            "is a MusicGen, and this evaluation needs a F5TTS or Encodec or Spectral",
        ),
        ("music --model nexus/f5tts-tiny", "is a F5TTS, and this evaluation needs a MusicGen"),
        ("music --against nexus/f5tts-tiny", "is a F5TTS, and this evaluation needs a MusicGen"),
        ("sound --model nexus/sund-tiny", "unknown model 'nexus/sund-tiny'"),
        ("sound --data test", "unknown data 'test'; there are train and valid"),
        ("video --data test", "unknown data 'test'; there are train and valid"),
        ("image --data test", "unknown data 'test'; there are train and valid"),
        ("sound --items 1", "--items"),
        ("sound --fad panns", "--fad"),
        ("music --duration 100", "--duration"),
        ("sound -o full", "full is not empty"),
        ("sound -o a.txt", "a.txt: not a folder"),
        ("smell", "No such command 'smell'"),
    ],
)
def test_refused_before_anything_is_made(run, calls, tmp_path, line, sentence):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "a").touch()
    (tmp_path / "a.txt").touch()
    code, out, err = run("eval", *line.split())
    assert code == 2 and out == "" and calls == []
    assert sentence in " ".join(err.replace("│", " ").split())
    assert not (tmp_path / "evaluation").exists()


def test_a_corpus_that_is_not_there(run, tmp_path):
    code, _, err = run("eval", "speech", "--corpus", tmp_path / "nowhere", "--items", 2)
    assert code == 2 and "splits are none (is this the corpus?)" in err and not (tmp_path / "evaluation").exists()


def test_sync_tells_by_how_much_the_sound_is_late(run, tmp_path):
    frames = np.full((100, 16, 16, 3), 10, np.uint8)
    sound = 1e-4 * np.random.default_rng(0).standard_normal((1, 4 * 16_000))
    for time in (0.6, 1.5, 2.1, 3.2):
        frames[round(time * 25) :] += np.uint8(50)
        sound[0, round((time + 0.2) * 16_000) :][:800] += 0.5 * np.sin(np.arange(800))
    film = Video(frames, 25)
    film.with_audio(Audio(sound.astype(np.float32), 16_000)).save(tmp_path / "late.mp4")
    film.save(tmp_path / "mute.mp4")
    code, out, err = run("eval", "sync", tmp_path / "late.mp4", "--json")
    assert code == 0 and not err and json.loads(out)["seconds"] == pytest.approx(0.2, abs=0.03)
    code, out, _ = run("eval", "sync", tmp_path / "late.mp4")
    assert code == 0 and re.search(r"the sound is (1[789]|2[0123])\d ms late", out)
    for name, sentence in (("none.mp4", "none.mp4"), ("mute.mp4", "mute.mp4 has no sound")):
        code, _, err = run("eval", "sync", tmp_path / name)
        assert code == 2 and sentence in err
