"""`nexus film`: a storyboard becomes a film."""

import json
import time
from pathlib import Path
from typing import Annotated

import typer

from nexus.cli.clip import check_output
from nexus.cli.options import Device, Json, Output, Seed
from nexus.cli.progress import Watch


def film(
    storyboard: Annotated[Path, typer.Argument(help="YAML or JSON; see examples/.", show_default=False)],
    model: Annotated[
        list[str] | None,
        typer.Option("--model", "-m", help="Another model for a kind, such as music=facebook/musicgen-small."),
    ] = None,
    cache: Annotated[
        Path | None, typer.Option("--cache", help="Where what was made is kept.", show_default="~/.cache/nexus/film")
    ] = None,
    stems: Annotated[bool, typer.Option("--stems", help="Also write dialogue, music and effects apart.")] = False,
    seed: Seed = None,
    device: Device = "auto",
    output: Output = None,
    as_json: Json = False,
) -> None:
    """Renders STORYBOARD: pictures, voices, score and sounds, cut, mixed and subtitled. Writes film.mp4.

    Stopped and started again it goes on; a second run makes only what changed. A seed gives other takes.
    """
    path, started = output or Path("film.mp4"), time.monotonic()
    if not storyboard.is_file():
        raise FileNotFoundError(f"{storyboard}: there is no such storyboard")
    check_output(path, (".mp4",))
    from nexus.film import render

    with Watch() as watch:
        made = render(
            storyboard,
            path,
            cache=cache,
            models=models_by_kind(model or []),
            device=device,
            seed=seed or 0,
            progress=watch.during,
            keep_stems=stems,
        )
    elapsed = round(time.monotonic() - started, 3)
    if as_json:
        files = [str(file) for file in made.files]
        counts = {"made": len(made.made), "reused": len(made.reused), "elapsed": elapsed}
        facts = {"path": str(made.path), "files": files, "seed": seed or 0, **counts, "film": made.manifest}
        typer.echo(json.dumps(facts, ensure_ascii=False))
    else:
        length = made.manifest["duration"]
        typer.echo(f"{path}: {length:.1f} s, {len(made.made)} made, {len(made.reused)} reused, in {elapsed:.0f} s")


def models_by_kind(choices: list[str]) -> dict[str, str]:
    """`["music=facebook/musicgen-small"]` as {"music": "facebook/musicgen-small"}."""
    for choice in choices:
        if "=" not in choice:
            raise ValueError(f"--model {choice!r} is not KIND=NAME, such as music=facebook/musicgen-small")
    return dict(choice.split("=", 1) for choice in choices)
