"""`nexus film`: a storyboard becomes a film."""

import json
import time
from pathlib import Path
from typing import Annotated

import typer

from nexus.cli.clip import check_output
from nexus.cli.options import Device, Json, Output, Seed
from nexus.cli.progress import Watch

Storyboard = Annotated[Path, typer.Argument(help="A storyboard, YAML or JSON; see examples/.", show_default=False)]


def film(
    storyboard: Storyboard,
    seed: Seed = None,
    device: Device = "auto",
    output: Output = None,
    as_json: Json = False,
) -> None:
    """Renders STORYBOARD: pictures, voices, score and sounds, cut, mixed and subtitled. Writes film.mp4.

    Stopped and started again it goes on; a second run makes only what changed.
    """
    path, started = output or Path("film.mp4"), time.monotonic()
    if not storyboard.is_file():
        raise FileNotFoundError(f"{storyboard}: there is no such storyboard")
    check_output(path, (".mp4",))
    from nexus.film.render import render

    with Watch() as watch:
        made = render(storyboard, path, seed=seed, device=device, progress=watch)
    if as_json:
        typer.echo(json.dumps(made | {"elapsed": round(time.monotonic() - started, 3)}, ensure_ascii=False))
    else:
        typer.echo(f"{path}: made in {time.monotonic() - started:.0f} s")
