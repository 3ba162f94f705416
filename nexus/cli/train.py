"""`nexus train`: run a recipe."""

from pathlib import Path
from typing import Annotated

import typer


def train(
    name: Annotated[str, typer.Argument(help="A recipe (such as f5tts-tiny) or a path to a .py file.")],
    overrides: Annotated[list[str] | None, typer.Argument(help="Fields to set, such as optimizer.lr=3e-4.")] = None,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Run folder; default runs/NAME.")] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Start again instead of going on where it stopped.")] = False,
) -> None:
    """Trains a recipe; run it again to go on where it stopped."""
    from nexus.training.find import find_recipe
    from nexus.training.loop import train as run
    from nexus.training.recipe import override

    recipe = override(find_recipe(name), overrides or [])
    weights = run(recipe, output or Path("runs") / recipe.name, resume=not fresh)
    typer.echo(str(weights))
