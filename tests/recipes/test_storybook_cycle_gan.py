"""CycleGAN's recipe takes steps, goes on exactly, and exports what translates."""

import dataclasses

import pytest
import torch

import nexus
from nexus.data.storybook import domains
from nexus.models.gan.cycle_gan import CycleGAN, CycleGANConfig
from nexus.recipes import storybook_cycle_gan
from nexus.training.loop import train
from nexus.training.recipe import LoopConfig

pytestmark = pytest.mark.emoji

QUICK = LoopConfig(
    steps=2, ema_decay=0.5, log_every=1, save_every=2, sample_every=2, validate_every=2, validation_batches=1
)
SMALL = {"model": CycleGANConfig(dim=4, n_blocks=1), "judge_dim": 4, "pool": 3, "stills": 12, "held_out": 10}


def test_pictures_by_day_and_night(tmp_path):
    recipe, figures = dataclasses.replace(storybook_cycle_gan.recipe, loop=QUICK, batch_size=2, **SMALL), []
    train(recipe, tmp_path, on_log=lambda step, values: figures.append(values))
    model = nexus.load(tmp_path / "weights", device="cpu")
    assert isinstance(model, CycleGAN)
    assert 0 <= figures[-1]["valid/model/seen_as_night"] <= 1 and figures[0]["judges/loss"] > 0
    picture = nexus.Image.from_tensor(domains.domain("day", 12)[0])
    assert model.generate(picture, way="to_b") != picture


def test_the_pool_is_part_of_a_checkpoint(tmp_path):
    """A run that stops and goes on is the run that never stopped, its history of fakes too."""
    loop = dataclasses.replace(QUICK, steps=4, validate_every=0, sample_every=0)
    recipe = dataclasses.replace(storybook_cycle_gan.recipe, loop=loop, batch_size=2, **SMALL)
    whole = nexus.load(train(recipe, tmp_path / "whole"), device="cpu")
    train(dataclasses.replace(recipe, loop=dataclasses.replace(loop, steps=3)), tmp_path / "parts")
    parts = nexus.load(train(recipe, tmp_path / "parts"), device="cpu")
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), parts.parameters(), strict=True))
