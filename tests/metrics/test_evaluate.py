"""Whole evaluations of small stubs, with judges that need no weights."""

import gzip
import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from nexus.data.music import compose
from nexus.data.sound import synthesize
from nexus.media import Audio
from nexus.metrics import evaluate_music as music
from nexus.metrics import evaluate_sound as sound
from nexus.metrics.evaluate_speech import evaluate_speech, recordings
from nexus.metrics.fad import EMBEDDINGS
from nexus.metrics.figures import compare, from_json
from nexus.metrics.judge import Judge, Measure, MissingJudge, Verdict
from nexus.metrics.neighbours import Neighbours
from nexus.metrics.notes import Note
from nexus.metrics.results import write_results
from nexus.metrics.si_sdr import si_sdr_judge
from nexus.metrics.speaking_rate import rate_judge

RATE = 24_000
NOTES = tuple(Note(start, start + 1, pitch) for start, pitch in ((0.0, 60), (1.0, 64), (2.0, 84)))


class Stub(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.info = SimpleNamespace(name="a stub")
        self.config = SimpleNamespace(melody=None)


class F5TTS(Stub):
    """Says everything twice as fast as it should be said."""

    def generate(self, prompt, *, voice, seed):
        assert voice.seconds <= 3
        return tone(0.5, seed)


class Encodec(Stub):
    sample_rate = RATE

    def encode(self, waveform):
        return waveform

    def decode(self, codes):
        return 0.5 * codes


class MusicGen(Stub):
    """Plays what the data would."""

    def __init__(self, known):
        super().__init__()
        self.known = known
        self.codec = Encodec()

    def generate(self, prompt, *, duration, seed, melody=None):
        if melody is not None:
            return melody
        return [self.known[one].fit(round(duration * RATE)) for one in prompt]


def tone(seconds, seed=0):
    noise = np.random.default_rng(seed).uniform(-0.1, 0.1, round(seconds * RATE))
    return Audio(noise.astype(np.float32), RATE)


@pytest.fixture
def corpus(tmp_path):
    """Three sentences of one second, each in the voice of the next."""
    rows = []
    for i in range(3):
        tone(1, i).save(tmp_path / f"{i}.wav")
        row = {"id": str(i), "speaker": "a", "text": f"Word {i}.", "phonemes": "", "phoneme_set": ""}
        rows.append(
            row | {"path": f"{i}.wav", "num_samples": RATE, "sample_rate": RATE, "prompt_path": f"{(i + 1) % 3}.wav"}
        )
    write_manifest(tmp_path, rows)
    return tmp_path


def write_manifest(folder, rows):
    (folder / "manifests").mkdir(exist_ok=True)
    with gzip.open(folder / "manifests" / "valid.jsonl.gz", "wt") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)


def test_a_speaker(corpus):
    told = []
    found = evaluate_speech(F5TTS(), corpus, items=3, judges=[rate_judge], progress=lambda *done: told.append(done))
    rate, time = found.figures
    assert rate.name == "speaking rate error" and rate.value == pytest.approx(100, abs=5) and rate.card.items == 3
    assert time.name == "real-time factor" and 0 < time.value < 1 and "wall clock" in time.card.judge
    assert found.kind == "speech" and found.model == "a stub" and found.items[1].prompt == "Word 1."
    assert set(found.items[0].values) == {"speaking rate error", "real-time factor"}
    assert told[-1] == (3, 3, "judging the recordings") and found.left_out == ()


def test_the_recordings_are_judged_at_the_models_rate(corpus):
    model = F5TTS()
    model.generate = lambda prompt, *, voice, seed: tone(0.5, seed).resample(RATE // 2)
    loud = Judge(name="peak", version="1", rate=16_000, measures=(Measure(name="peak"),),
                 values=lambda sample: Verdict(values={"peak": sample.made.peak}))  # fmt: skip
    found = evaluate_speech(model, corpus, items=3, judges=[lambda: loud])
    assert found.figures[0].card.resampling == f"{RATE // 2} -> 16000 Hz, soxr VHQ"
    assert compare(found.figures[0], found.baselines["the recordings"][0]).paired


def test_a_codec_is_given_the_recordings(corpus, monkeypatch):
    def missing():
        raise MissingJudge("Whisper wants its weights")

    monkeypatch.setitem(EMBEDDINGS, "whisper", missing)
    found = evaluate_speech(Encodec(), corpus, items=2, judges=[si_sdr_judge], fad="whisper")
    assert found.left_out == ("Whisper wants its weights",)
    assert found.figures[0].name == "SI-SDR" and found.figures[0].value == pytest.approx(100)
    assert found.items[0].made.peak == pytest.approx(0.5 * found.items[0].reference.peak)


def test_wrong_speech_data(corpus):
    with pytest.raises(ValueError, match="a MusicGen neither speaks"):
        evaluate_speech(MusicGen({}), corpus, items=2)
    with pytest.raises(ValueError, match="9 items were asked for and valid has 3"):
        recordings(corpus, "valid", 9)
    Audio.silence(RATE, RATE).save(corpus / "1.wav")
    (corpus / "2.wav").unlink()
    with pytest.raises(ValueError, match=r"4 of 6 sounds cannot be used: 1\.wav is silent"):
        recordings(corpus, "valid", 3)
    write_manifest(corpus, [{"id": "a", "speaker": "", "text": "x", "phonemes": "", "phoneme_set": "", "path": "0.wav",
                             "num_samples": 1, "sample_rate": RATE}])  # fmt: skip
    with pytest.raises(ValueError, match="1 of 1 sentences have no prompt_path"):
        recordings(corpus, "valid", 1)
    write_manifest(corpus, [])
    with pytest.raises(ValueError, match="valid has 0"):
        recordings(corpus, "valid", 2)


def test_a_perfect_maker_of_sounds():
    clips = [synthesize(i, "valid") for i in range(3)]
    kinds = list(dict.fromkeys(clip.facts["kind"] for clip in clips))
    assert len(kinds) == 3
    labels = [kind for kind in kinds for _ in range(3)]
    classifier = Neighbours([clips[kinds.index(kind)].audio for kind in labels], labels)
    model = MusicGen({clip.caption: clip.audio for clip in clips})
    found = sound.evaluate_sound(model, items=3, classifier=classifier)
    assert found.figures[0].value == 100 and found.figures[0].card.weights == classifier.digest
    values = {name: figures[0].value for name, figures in found.baselines.items()}
    assert values["the clips"] == 100 and values["other prompts (chance)"] == 0
    assert "the clips through the codec" in values
    with pytest.raises(ValueError, match="at least 2 items, got 1"):
        sound.evaluate_sound(model, items=1)
    with pytest.raises(ValueError, match="a F5TTS makes no music"):
        sound.evaluate_sound(F5TTS(), items=2)


def test_a_perfect_composer(monkeypatch, tmp_path):
    """Rendering is replaced: what a piece sounds like is not the matter here."""
    pieces = [compose(i, "valid", seconds=2) for i in range(3)]
    monkeypatch.setattr(music, "render", lambda piece, seconds, rate: tone(seconds, piece.seed))
    monkeypatch.setattr(music, "standard", lambda judge: None)  # as if Essentia were there
    monkeypatch.setattr(music, "version", lambda distribution: distribution)
    for ear, heard in (("tempo_of", 0.0), ("key_of", pieces[0].key), ("beat_alignment", 0.5), ("notes_of", NOTES)):
        monkeypatch.setattr(music, ear, lambda audio, heard=heard: heard)
    real = [tone(2, piece.seed) for piece in pieces]
    styles = Neighbours(real, [piece.style for piece in pieces])
    model = MusicGen({music.prompt_of(p): audio for p, audio in zip(pieces, real, strict=True)})
    model.config.melody = object()
    found = music.evaluate_music(model, items=3, seconds=2, styles=styles)
    values = {figure.name: figure.value for figure in found.figures}
    right = [piece.key == pieces[0].key for piece in pieces]
    assert values["key right"] == pytest.approx(100 * sum(right) / 3)
    assert values["tempo right"] == 0 and values["chroma similarity to the melody"] == pytest.approx(1)
    assert values["beat alignment"] == 0.5
    assert values.get("melodic consistency", 0.5) == 0.5  # where basic-pitch is installed
    assert any(said.startswith("CLAP wants") for said in found.left_out)
    assert {"key right", "MIREX-weighted key", "pitch energy in the scale", "style right"} <= set(values)
    assert found.baselines["another piece's melody"][0].value < 0.999
    write_results(found, tmp_path)
    told = json.loads((tmp_path / "evaluation.json").read_text())
    assert Audio.load(tmp_path / told["items"][2]["made"]) == real[2]
    assert from_json((tmp_path / "evaluation.json").read_text()).figures == found.figures
