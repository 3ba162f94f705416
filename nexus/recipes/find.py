"""Recipes by name (`f5tts-tiny` is `nexus.recipes.f5tts_tiny.recipe`, `grid-gan/wgan-gp` is one of `TEACHERS` there) or
by path to a Python file.
"""

import difflib
import importlib
import importlib.util
import pkgutil
from pathlib import Path
from types import ModuleType

from nexus.training.recipe import Recipe


def names() -> list[str]:
    """The recipes that come with the package."""
    import nexus.recipes

    found = (info.name for info in pkgutil.iter_modules(nexus.recipes.__path__))
    return sorted(name.replace("_", "-") for name in found if name != "find")


def find_recipe(name: str) -> Recipe:
    """The `recipe` of a module or file; of one that has several teachers, `NAME/TEACHER`.

    Raises:
        ValueError: no such recipe (with the nearest names), or the file defines none.
    """
    if name.endswith(".py"):
        module = _run_file(Path(name))
    elif "/" in name:
        return _taught_by(*name.split("/", 1))
    elif name.replace("_", "-") in names():
        module = importlib.import_module(f"nexus.recipes.{name.replace('-', '_')}")
    else:
        near = difflib.get_close_matches(name, names(), n=3, cutoff=0.4)
        hint = f"nearest: {', '.join(near)}" if near else f"there are {', '.join(names())}"
        raise ValueError(f"unknown recipe {name!r}; {hint}; a recipe file's name must end in .py")
    recipe = getattr(module, "recipe", None)
    if not isinstance(recipe, Recipe):
        raise ValueError(f"{name} defines no recipe: it must end with a line such as `recipe = MyRecipe(name=...)`")
    return recipe


def _taught_by(name: str, teacher: str) -> Recipe:
    find_recipe(name)  # refused with the nearest names
    module = importlib.import_module(f"nexus.recipes.{name.replace('-', '_')}")
    teachers: dict[str, Recipe] = getattr(module, "TEACHERS", {})
    if teacher not in teachers:
        has = f"its teachers are {', '.join(teachers)}" if teachers else "it has no teachers to choose from"
        raise ValueError(f"unknown teacher {teacher!r} of {name}; {has}")
    return teachers[teacher]


def _run_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise ValueError(f"there is no recipe file {path}")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
