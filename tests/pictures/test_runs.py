import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from nexus.recipes.digits_ddpm import recipe
from pictures import runs


@pytest.fixture(autouse=True)
def empty(tmp_path, monkeypatch):
    monkeypatch.setattr(runs, "RUNS", tmp_path / "runs")
    monkeypatch.setattr(runs, "KEPT", tmp_path / "kept")
    runs.trained.cache_clear()
    yield tmp_path
    runs.trained.cache_clear()


def finished(folder: Path, recipe, step: int) -> Path:
    """What a run leaves, as far as it is looked at."""
    (folder / "checkpoints" / f"step-{step:08d}").mkdir(parents=True)
    (folder / "recipe.json").write_text(json.dumps(asdict(recipe), default=str))
    return folder


def test_a_run_is_taken_where_it_is_whole_and_of_the_same_recipe(empty, monkeypatch):
    asked = []
    monkeypatch.setattr(runs, "train", lambda recipe, folder: asked.append(recipe))
    watched = replace(recipe, loop=replace(recipe.loop, save_every=7))  # learns the same
    finished(empty / "runs/digits-ddpm", watched, 1200)
    found = runs.trained("digits-ddpm", "brief")
    assert found == runs.Trained(empty / "runs/digits-ddpm/weights", 1200, 1200) and not found.cut_short and not asked


@pytest.mark.parametrize("change", [{"schedule": "linear"}, {}])
def test_another_recipe_or_half_a_run_is_not(empty, monkeypatch, change):
    asked = []
    monkeypatch.setattr(runs, "train", lambda recipe, folder: asked.append((recipe, folder)))
    finished(empty / "runs/digits-ddpm", replace(recipe, **change), 1200 if change else 800)
    found = runs.trained("digits-ddpm", "brief")
    ((trained, folder),) = asked
    assert trained.loop.steps == found.steps == 300 and found.cut_short and trained.schedule == "cosine"
    assert folder.parent == empty / "kept/runs" and found.weights == folder / "weights"
    runs.trained.cache_clear()
    runs.trained("digits-ddpm", "full")
    assert asked[1][0].loop.steps == 1200 and asked[1][1] != folder


def test_some_are_never_cut_short(empty, monkeypatch):
    asked = []
    monkeypatch.setattr(runs, "train", lambda recipe, folder: asked.append(recipe.loop.steps))
    assert not runs.trained("grid-gan", "brief").cut_short and asked == [3000]


def test_a_student_is_taught_by_the_teacher_that_was_trained_for_it(empty, monkeypatch):
    asked = []
    monkeypatch.setattr(runs, "train", lambda recipe, folder: asked.append((recipe, folder)))
    runs.trained("digits-lcm", "brief")
    (teacher, where), (student, _) = asked
    assert teacher.name == "digits-classes" and student.teacher == str(where / "weights")


@pytest.mark.parametrize("name", [*runs.NEVER_BRIEF, "digits-ddpm-linear", "storybook-cycle-gan"])
def test_names_of_runs_are_of_recipes(name):
    assert runs.recipe_of(name).loop.steps >= 300 and runs.recipe_of(name).name in (name, "digits-ddpm")
