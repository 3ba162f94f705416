"""Overrides by dotted name, and recipes by name or file."""

import pytest
from toy import Toy

from nexus.recipes.find import find_recipe, names
from nexus.training.recipe import override


def test_sets_nested_fields_by_type():
    recipe = override(
        Toy(), ["loop.steps=7", "optimizer.lr=3e-4", "optimizer.betas=0.8,0.95", "name=other", "loop.precision=bf16"]
    )
    assert (recipe.loop.steps, recipe.optimizer.lr, recipe.name) == (7, 3e-4, "other")
    assert recipe.optimizer.betas == (0.8, 0.95) and recipe.loop.precision == "bf16"
    assert override(Toy(), ["loop.gradient_checkpointing=True"]).loop.gradient_checkpointing is True


WRONG = {
    "loop.steps": "'loop.steps' is not key=value",
    "lop.steps=3": "unknown field 'lop' in 'lop.steps'; there are name, loop, optimizer",
    "loop.step=3": "unknown field 'step' in 'loop.step'; there are steps, seed",
    "name.x=3": "'name' in 'name.x' is a value, not a group",
    "loop.steps=many": "loop.steps: 'many' is not a int",
    "loop.steps=-1": "loop.steps: -1 is too small",
    "loop.accumulate=0": "loop.accumulate: 0 is too small",
    "loop.precision=fp8": r"loop.precision: 'fp8' is not one of auto, fp32, bf16",
    "optimizer.schedule=linear": "optimizer.schedule: 'linear' is not one of cosine, constant",
    "optimizer.lr=nan": "optimizer.lr: nan is too small or not finite",
    "optimizer.betas=0.5": r"optimizer.betas: '0.5' has 1 values; it takes 2",
    "loop=3": "'loop' is a group of fields: steps, seed",
}


@pytest.mark.parametrize(("assignment", "message"), WRONG.items())
def test_wrong_overrides(assignment, message):
    with pytest.raises(ValueError, match=message):
        override(Toy(), [assignment])


def test_recipe_by_file(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text("recipe = 3\n")
    with pytest.raises(ValueError, match="defines no recipe"):
        find_recipe(str(file))
    with pytest.raises(ValueError, match="no recipe file"):
        find_recipe(str(tmp_path / "none.py"))
    file.write_text("from toy import Toy\nrecipe = Toy(name='mine')\n")
    assert find_recipe(str(file)).name == "mine"


def test_unknown_recipe_offers_the_nearest():
    assert "f5tts-tiny" in names()
    with pytest.raises(ValueError, match="unknown recipe 'f5tts-tinny'; nearest: f5tts-tiny"):
        find_recipe("f5tts-tinny")


def test_a_recipe_under_another_teacher():
    assert find_recipe("grid-gan/wgan-gp").critic_steps == 5 and find_recipe("grid_gan/plain").name == "grid-gan-plain"
    with pytest.raises(ValueError, match="unknown teacher 'wgan' of grid-gan; its teachers are plain, r1, spectral"):
        find_recipe("grid-gan/wgan")
    with pytest.raises(ValueError, match="vocos-tiny; it has no teachers"):
        find_recipe("vocos-tiny/r1")
    with pytest.raises(ValueError, match="unknown recipe 'grid-gam'; nearest: grid-gan"):
        find_recipe("grid-gam/r1")


@pytest.mark.parametrize("name", names())
def test_every_recipe_is_called_by_its_name(name):
    assert find_recipe(name).name == name
