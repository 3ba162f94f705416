"""`nexus train`: run a recipe."""

import json
from pathlib import Path
from typing import Annotated

import typer

from nexus.cli.options import Device, Json, Seed

Name = Annotated[str, typer.Argument(help="A recipe, such as f5tts-tiny, or a .py file.", show_default=False)]


def train(
    name: Name,
    overrides: Annotated[
        list[str] | None, typer.Argument(help="Fields to set, such as optimizer.lr=3e-4.", show_default=False)
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The run's folder.", show_default="runs/NAME")
    ] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Start again instead of going on where it stopped.")] = False,
    seed: Seed = None,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Trains a recipe; the same command again goes on where it stopped.

    nexus train f5tts-tiny optimizer.lr=3e-4 loop.steps=20000
    """
    from nexus.recipes.find import find_recipe
    from nexus.training.loop import train as run
    from nexus.training.recipe import override

    chosen = [*(overrides or []), f"loop.device={device}"] + ([] if seed is None else [f"loop.seed={seed}"])
    recipe = override(find_recipe(name), chosen)
    try:
        weights = run(recipe, output or Path("runs") / recipe.name, resume=not fresh)
    except KeyboardInterrupt as stopped:
        typer.echo(str(stopped) or "stopped at once; what was saved before is kept", err=True)
        raise
    result = {"recipe": recipe.name, "steps": recipe.loop.steps, "seed": recipe.loop.seed, "weights": str(weights)}
    typer.echo(json.dumps(result, ensure_ascii=False) if as_json else str(weights))
