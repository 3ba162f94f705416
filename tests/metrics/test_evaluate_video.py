"""Whole evaluations of stubs; what is seen comes from a judge that reads the place off the clip it was given."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from nexus.media import Video
from nexus.metrics import evaluate_video as video
from nexus.metrics import picture_distance
from nexus.metrics.judge import MissingJudge
from nexus.metrics.picture_features import PictureNetwork
from nexus.metrics.storybook_clips import clips_in_turn
from nexus.metrics.storybook_judge import Seen, StorybookJudge

pytestmark = pytest.mark.emoji

SIZE, FRAMES, ITEMS = 16, 5, 10


class CogVideoXVAE(nn.Module):
    """Halves the contrast."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.info = SimpleNamespace(name="a codec")

    def encode(self, pixels):
        return SimpleNamespace(mean=pixels)

    def decode(self, latent):
        return latent / 2


class CogVideoX(nn.Module):
    """Makes each clip as the data has it, played backwards where asked."""

    def __init__(self, backwards=False):
        super().__init__()
        self.vae, self.backwards = CogVideoXVAE(), backwards
        self.info = SimpleNamespace(name="a stub")
        self.config = SimpleNamespace(size=(SIZE, SIZE), frames=FRAMES)
        clips = clips_in_turn(video.THINGS, ITEMS, size=SIZE, frames=FRAMES)
        self.known = {clip.caption: Video(clip.frames, clip.fps) for clip in clips}

    def generate(self, prompts, *, seed, guidance_scale):
        step = -1 if self.backwards else 1
        return [Video(self.known[p].frames[::step], 8) for p in prompts]


class Blind(PictureNetwork):
    def __init__(self):
        pass

    def features(self, video):
        return torch.ones(video.length, 4)


class KnowsTheClips(StorybookJudge):
    """A judge that knows every clip by its middle frame, whichever way it is played."""

    def __init__(self, *_, size, frames, **__):
        self.clips = clips_in_turn(video.THINGS, ITEMS, size=size, frames=frames)
        self.network = Blind()

    def look(self, video):
        middle = video.length // 2
        gaps = [np.abs(video.frames[middle].astype(int) - clip.frames[middle]).mean() for clip in self.clips]
        facts = self.clips[int(np.argmin(gaps))].facts
        return Seen(facts.noun, facts.place, facts.time, "nowhere")


@pytest.fixture
def judged(monkeypatch, tmp_path):
    weights = tmp_path / "weights.pth"
    weights.write_bytes(b"eyes")
    monkeypatch.setattr(video, "StorybookJudge", KnowsTheClips)
    for module in (video, picture_distance):
        monkeypatch.setattr(module, "weights_file", lambda: weights)
        monkeypatch.setattr(module, "version", lambda package: f"{package} 1")


def values(figures):
    return {figure.name: figure.value for figure in figures}


def test_a_model_that_makes_the_clips_is_right_and_its_chance_is_not(judged):
    found = video.evaluate_video(CogVideoX(), items=ITEMS)
    made, chance = values(found.figures), values(found.baselines["other prompts (chance)"])
    assert made[video.THING] == made[video.PLACE] == made[video.TIME] == 100
    assert chance[video.THING] == 0  # ten items, ten things
    assert made[video.FLICKER] == made[video.JERKS] == pytest.approx(1)
    assert made[video.SAME] == pytest.approx(1)
    assert found.data.startswith("storybook valid") and len(found.items) == ITEMS
    assert found.items[0].note.startswith("seen as ")
    assert values(found.baselines["the clips through the codec"])[video.FLICKER] == pytest.approx(0.5, abs=0.05)


def test_direction_counts_only_clips_whose_thing_goes_somewhere(judged):
    found = video.evaluate_video(CogVideoX(), items=ITEMS)
    movers = next(figure for figure in found.figures if figure.name == video.MOVERS)
    asked = [video.asked_direction(clip.facts) for clip in clips_in_turn(video.THINGS, ITEMS, size=SIZE, frames=FRAMES)]
    assert [np.isnan(value) for value in movers.items] == [way in (None, "nowhere") for way in asked]
    assert movers.value == 0  # this judge sees everything stand


def test_an_autoencoder_is_measured_by_what_it_keeps(judged):
    found = video.evaluate_video(CogVideoXVAE(), items=ITEMS)
    made = values(found.figures)
    assert 5 < made["PSNR"] < 20 and made["SSIM"] < 1
    assert values(found.baselines["the clips"])["PSNR"] == 100
    assert "the clips through the codec" not in found.baselines


def test_too_few_frames_for_a_frechet_distance_are_told(judged):
    found = video.evaluate_video(CogVideoX(), items=2, fid=True)
    assert any("needs at least" in sentence for sentence in found.left_out)
    assert any(sentence.startswith("I3D wants i3d_torchscript.pt") for sentence in found.left_out)


def test_without_the_network_the_rest_is_measured_and_the_package_named(monkeypatch):
    def missing(*_, **__):
        raise ModuleNotFoundError("pip install eyes")

    monkeypatch.setattr(video, "StorybookJudge", missing)
    found = video.evaluate_video(CogVideoX(), items=2)
    assert "pip install eyes" in found.left_out
    assert set(values(found.figures)) == {video.FLICKER, video.JERKS, video.SMOOTH}
    with pytest.raises(MissingJudge):
        video.Eyes(size=SIZE, frames=FRAMES).judge()


def test_models_of_another_kind_and_single_items_are_refused():
    with pytest.raises(ValueError, match="a Linear makes no videos"):
        video.evaluate_video(nn.Linear(1, 1))
    with pytest.raises(ValueError, match="at least 2 items, got 1"):
        video.evaluate_video(CogVideoX(), items=1)


def test_the_split_asked_for_is_the_one_measured(monkeypatch):
    class Drawn(Exception):
        pass

    def draw(*_, split, **__):
        raise Drawn(split)

    monkeypatch.setattr(video, "clips_in_turn", draw)
    for split in ("valid", "train"):
        with pytest.raises(Drawn, match=split):
            video.evaluate_video(CogVideoX(), split, items=ITEMS)
