"""Evaluations of CLAP, of stubs that know which sound is whose."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from nexus.data.music import compose
from nexus.data.music.theory import Key
from nexus.data.sound import synthesize
from nexus.media import Audio
from nexus.metrics import evaluate_clap as clap
from nexus.models.audio.clap import Clap

N = 6


class Identity(nn.Module):
    sample_rate = 24000

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))

    def encode(self, waveform):
        return waveform

    def decode(self, codes):
        return codes


class Silence(Identity):
    def decode(self, codes):
        return 0 * codes


class Knowing(Clap):
    """Finds text i for sound i, or that of the sound after it; silence is always like the same one."""

    def __init__(self, sounds, texts, off_by=0):
        nn.Module.__init__(self)
        self.info = SimpleNamespace(name="a stub")
        self.sounds, self.known, self.off_by = [s.samples.mean() for s in sounds], texts, off_by

    def embed_sounds(self, sounds):
        gaps = [[abs(s.samples.mean() - known) for known in self.sounds] for s in sounds]
        place = torch.tensor(np.argmin(gaps, axis=1)) + self.off_by
        return F.one_hot(place % len(self.sounds), len(self.sounds)).float()

    def embed_texts(self, prompts):
        vectors = torch.full((len(prompts), len(self.sounds)), -1.0)
        for row, prompt in enumerate(prompts):
            if prompt in self.known:
                vectors[row, self.known.index(prompt)] = 1
        return vectors


def test_the_nearest_caption_is_of_the_kind_or_not():
    clips = [synthesize(i, "valid") for i in range(N)]
    kinds = [clip.facts["kind"] for clip in clips]
    sounds, captions = [clip.audio for clip in clips], [clip.caption for clip in clips]
    steps = []
    found = clap.evaluate_clap_sound(
        Knowing(sounds, captions), items=N, codec=Identity(), progress=lambda *told: steps.append(told)
    )
    assert found.figures[0].name == "nearest caption of its kind" and found.figures[0].value == 100
    assert found.baselines["through the codec"][0].value == 100
    alike = sum(kinds.count(kind) - 1 for kind in kinds) / (N * (N - 1))
    assert found.baselines["other sounds (chance)"][0].value == pytest.approx(100 * alike)
    assert found.items[2].note == f"nearest: {captions[2]}" and found.kind == "sound" and found.data == "sound valid"
    assert steps[-1] == (N, N, "listening through the codec")
    wrong = clap.evaluate_clap_sound(Knowing(sounds, captions, off_by=1), items=N, codec=Silence())
    shifted = [kinds[(i + 1) % N] == kind for i, kind in enumerate(kinds)]
    assert wrong.figures[0].value == pytest.approx(100 * sum(shifted) / N)
    assert wrong.baselines["through the codec"][0].value <= 100 * max(map(kinds.count, kinds)) / N, "all alike"
    with pytest.raises(ValueError, match="at least 2 items, got 1"):
        clap.evaluate_clap_sound(Knowing(sounds, captions), items=1)


def test_wrong_prompts_are_wrong_in_one_thing():
    for seed in range(40):
        piece = compose(seed, "valid", seconds=2)
        own, wrong = clap.prompt_of(piece).split(", "), clap.prompts_wrong_in_one_thing(piece)
        differs = {
            name: [i for i, part in enumerate(prompt.split(", ")) if part != own[i]] for name, prompt in wrong.items()
        }
        assert list(differs.values()) == [[1], [1], [2], [2], [0]]
        faster, slower = (int(wrong[f"a {way} tempo"].split(", ")[1].split()[0]) for way in ("faster", "slower"))
        assert faster / piece.tempo == pytest.approx(1.15, abs=0.01) == piece.tempo / slower
        fifth, semitone = (Key.parse(wrong[f"a key a {step} higher"].split(", ")[2]) for step in ("fifth", "semitone"))
        assert {key.mode for key in (fifth, semitone)} == {piece.key.mode}
        assert len(set(fifth.scale) & set(piece.key.scale)) == 6 > len(set(semitone.scale) & set(piece.key.scale))


def test_own_prompts_come_first_or_not(monkeypatch):
    """Rendering is replaced: what a piece sounds like is not the matter here."""
    pieces = [compose(i, "valid", seconds=2) for i in range(3)]
    sounds = [Audio(np.full(48000, 0.1 * (i + 1), np.float32), 24000) for i in range(3)]
    monkeypatch.setattr(clap, "render", lambda piece, seconds, rate: sounds[piece.seed - pieces[0].seed])
    prompts = [clap.prompt_of(piece) for piece in pieces]
    found = clap.evaluate_clap_music(Knowing(sounds, prompts), items=3, seconds=2, codec=Identity())
    assert [figure.value for figure in found.figures] == 5 * [100]
    assert found.figures[3].name == "own prompt before a key a semitone higher"
    assert [figure.value for figure in found.baselines["through the codec"]] == 5 * [100]
    assert [figure.value for figure in found.baselines["another piece (chance)"]] == 5 * [0]
    assert "own 1.00, a faster tempo -1.00" in found.items[0].note and found.data == "music valid, 2 s"
    wrong = clap.evaluate_clap_music(Knowing(sounds, prompts, off_by=1), items=3, seconds=2, codec=Identity())
    assert [figure.value for figure in wrong.figures] == 5 * [0]
