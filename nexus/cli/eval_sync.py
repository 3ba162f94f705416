"""`nexus eval sync`: how far a film's sound is from its picture."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from nexus.cli.options import Json


def sync(film: Annotated[Path, typer.Argument(help="A film with sound.")], as_json: Json = False) -> None:
    """Where onsets of sound meet sudden changes of picture, by correlation; tells little where nothing seen is heard.

    nexus eval sync film.mp4
    """
    from nexus.media import Video
    from nexus.metrics.sync import WIDEST, av_offset

    video = Video.load(film)
    if video.audio is None:
        raise ValueError(f"{film} has no sound to compare with its picture")
    found = av_offset(video, video.audio)
    if as_json:
        typer.echo(json.dumps({"path": str(film), **asdict(found)}))
        return
    late = "late" if found.seconds > 0 else "early"
    typer.echo(
        f"{film}: the sound is {abs(found.seconds) * 1000:.0f} ms {late} of shifts up to {WIDEST:g} s; "
        f"correlation {found.correlation:.2f} there, {found.at_zero:.2f} as it is"
    )
