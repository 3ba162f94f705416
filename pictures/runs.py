"""The trainings that pictures show: taken from `runs` where they are, else trained here, whole or a quarter of it."""

import dataclasses
import hashlib
import json
from functools import cache
from pathlib import Path
from typing import Any, Literal

import torch

from nexus.cli.digits_rows import TRAININGS
from nexus.recipes.find import find_recipe
from nexus.training import checkpoint
from nexus.training.loop import train
from nexus.training.recipe import Recipe, override

Mode = Literal["none", "brief", "full"]  # no pictures; drawn from a quarter of each training; from whole ones

RUNS = Path("runs")  # what `nexus eval digits-table --train` and `nexus train` leave
KEPT = Path(".nexus-cache/docs")
BRIEF = 4  # a brief training has so many times fewer steps

TEACHERS = {"grid-gan-plain": "grid-gan/plain"}
NEVER_BRIEF = ("grid-gan", "grid-gan-plain")  # half a minute each, and a quarter of it shows nothing


@dataclasses.dataclass(frozen=True)
class Trained:
    weights: Path
    steps: int
    whole: int  # the steps that the recipe asks for

    @property
    def cut_short(self) -> bool:
        return self.steps < self.whole


def recipe_of(name: str) -> Recipe:
    """The recipe of a training: a row of the digits' table, a recipe under another teacher, or any by its own name."""
    recipe, settings = TRAININGS.get(name, (TEACHERS.get(name, name), []))
    return override(find_recipe(recipe), settings)


@cache
def trained(name: str, mode: Mode) -> Trained:
    """The weights of a training, which is made first if neither `runs` nor the cache has it."""
    recipe = recipe_of(name)
    if _is_finished(RUNS / name, recipe):
        return Trained(RUNS / name / "weights", recipe.loop.steps, recipe.loop.steps)
    asked = _from_teachers(recipe, mode)
    whole = mode == "full" or name in NEVER_BRIEF
    steps = recipe.loop.steps if whole else max(recipe.loop.steps // BRIEF, 1)
    loop = dataclasses.replace(recipe.loop, steps=steps, sample_every=0, validate_every=0, save_every=0)
    asked = dataclasses.replace(asked, loop=loop)
    told = json.dumps(_learnt(dataclasses.asdict(asked)), default=str)
    folder = KEPT / "runs" / f"{name}-{hashlib.sha256(told.encode()).hexdigest()[:12]}"
    if not _is_finished(folder, asked):
        with torch.random.fork_rng(devices=[]):
            train(asked, folder)
    return Trained(folder / "weights", steps, recipe.loop.steps)


def _from_teachers(recipe: Any, mode: Mode) -> Any:
    """The recipe with the weights that it starts from, which are made first."""
    for field in ("teacher", "flow"):
        place = Path(getattr(recipe, field, ""))
        if place.parts[:1] == ("runs",):  # as recipes name what they start from
            recipe = dataclasses.replace(recipe, **{field: str(trained(place.parts[1], mode).weights)})
    return recipe


def _is_finished(folder: Path, recipe: Recipe) -> bool:
    """Whether a run of this recipe came to its end there."""
    described, newest = folder / "recipe.json", next(iter(checkpoint.found(folder / "checkpoints")), None)
    if newest is None or int(newest.name.removeprefix("step-")) != recipe.loop.steps or not described.is_file():
        return False
    asked = json.loads(json.dumps(dataclasses.asdict(recipe), default=str))  # as the loop writes it beside a run
    return _learnt(json.loads(described.read_text())) == _learnt(asked)


def _learnt(settings: dict[str, Any]) -> dict[str, Any]:
    """A recipe's settings without how often a run is looked at, which changes nothing that is learnt."""
    return settings | {"loop": {k: v for k, v in settings["loop"].items() if not k.endswith("_every")}}
