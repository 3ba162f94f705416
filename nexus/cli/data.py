"""`nexus data`: the worlds that the small networks learn from."""

import json
from pathlib import Path
from typing import Annotated

import typer

from nexus.cli.options import Json
from nexus.cli.progress import Watch

app = typer.Typer(no_args_is_help=True, help="Build the worlds that the small networks learn from.")


@app.callback()
def root() -> None:
    pass


@app.command()
def build(
    world: Annotated[str, typer.Argument(help="music, sound or storybook.", show_default=False)],
    output: Annotated[Path, typer.Option("--output", "-o", help="The folder to fill.", show_default=False)],
    hours: Annotated[float, typer.Option("--hours", min=0.001, help="How much, in hours.")] = 1.0,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Another seed is another world.")] = 0,
    as_json: Json = False,
) -> None:
    """Writes HOURS of WORLD with captions; stopped and started again it goes on.

    nexus data build music --hours 2 -o DIR
    """
    from nexus.data.build import build as build_world

    with Watch() as watch:
        watch.stage(f"building {world}")
        build_world(world, output, hours=hours, seed=seed, progress=watch)
    made = {"world": world, "path": str(output), "hours": hours, "seed": seed}
    typer.echo(json.dumps(made, ensure_ascii=False) if as_json else str(output))
