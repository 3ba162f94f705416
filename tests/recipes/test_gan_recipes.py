"""Recipes of GANs take steps in the order and number they should, and export what loads and generates."""

import dataclasses
import math

import pytest

import nexus
from nexus.models.gan.base_gan import BaseGAN
from nexus.models.gan.conditional_gan import ConditionalGAN
from nexus.models.gan.wgan import WGAN
from nexus.process.gan import NonSaturating
from nexus.recipes import digits_conditional_gan, digits_gan, digits_wgan, digits_wgan_clipped, grid_gan, stacked_gan
from nexus.recipes.find import find_recipe
from nexus.training.loop import train
from nexus.training.recipe import LoopConfig

QUICK = LoopConfig(
    steps=2, ema_decay=0.5, log_every=1, save_every=2, sample_every=2, validate_every=2, validation_batches=1
)


def trained(recipe, folder, **changes):
    figures = []
    recipe = dataclasses.replace(recipe, loop=QUICK, **changes)
    train(recipe, folder, on_log=lambda step, values: figures.append(values))
    return nexus.load(folder / "weights", device="cpu"), figures


@pytest.mark.parametrize(
    ("recipe", "kind"),
    [
        (dataclasses.replace(digits_gan.recipe, augment=("translation", "cutout")), BaseGAN),
        (dataclasses.replace(digits_gan.recipe, norm="none", game=NonSaturating(r1_weight=1.0)), BaseGAN),
        (digits_conditional_gan.recipe, ConditionalGAN),
        (dataclasses.replace(digits_conditional_gan.recipe, told="concatenation"), ConditionalGAN),
    ],
    ids=["augmented", "r1", "projection", "concatenation"],
)
def test_digits(recipe, kind, tmp_path):
    model, figures = trained(recipe, tmp_path, batch_size=8, critic_dims=(4, 8))
    assert type(model) is kind and all(math.isfinite(values["model/loss"]) for values in figures[:2])
    assert 0 <= figures[2]["valid/model/classes"] <= 10 and ("critic/r1" in figures[0]) == (recipe.norm == "none")
    labels = [3, 3] if kind is ConditionalGAN else None
    first, second = model.generate(2, labels=labels, seed=0)
    assert first != second and first.height == 16
    assert (tmp_path / "samples/step-000002/digits.png").is_file()


@pytest.mark.parametrize("recipe", [digits_wgan.recipe, digits_wgan_clipped.recipe], ids=["penalty", "clipped"])
def test_the_critic_learns_more_often(recipe, tmp_path):
    model, figures = trained(recipe, tmp_path, batch_size=8, critic_dims=(4, 8), critic_steps=2)
    first, second, _ = figures
    assert type(model) is WGAN
    assert first["model/grad_norm"] == 0 and second["model/grad_norm"] > 0
    assert first["critic/grad_norm"] > 0 and second["critic/grad_norm"] > 0


@pytest.mark.parametrize("teacher", grid_gan.TEACHERS)
def test_points(teacher, tmp_path):
    recipe = grid_gan.TEACHERS[teacher]
    _, figures = trained(recipe, tmp_path, critic_steps=1, batch_size=16)
    assert 0 <= figures[-1]["valid/model/modes"] <= 25


@pytest.mark.parametrize("teacher", stacked_gan.TEACHERS)
def test_stacked_digits(teacher, tmp_path, monkeypatch):
    monkeypatch.setattr(stacked_gan, "SHOWN", 64)
    recipe = find_recipe(f"stacked-gan/{teacher}")
    model, figures = trained(recipe, tmp_path, critic_steps=1, batch_size=8)
    assert model.config == stacked_gan.recipe.model and model.generate(1, seed=0)[0].pixels.shape == (8, 8, 3)
    assert 1 <= figures[-1]["valid/model/kinds"] <= 64 and 0 < figures[-1]["valid/model/divergence"] < math.log(1000.1)
    assert ("critic/r1" in figures[0], "critic/penalty" in figures[0]) == (teacher == "r1", teacher == "wgan-gp")
    assert recipe.critic_dims == (8, 16)  # all on the same networks
