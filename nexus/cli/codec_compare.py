"""`nexus codec compare`: codecs side by side on one sound."""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nexus.cli.codec_models import CODECS, check_codec
from nexus.cli.options import Device, Json
from nexus.cli.progress import Watch

if TYPE_CHECKING:
    from nexus.media.audio import Audio
    from nexus.metrics.compare_codecs import Coder, Comparison

SHORTEST, LONGEST = 0.5, 600.0  # seconds
SPEC = re.compile(r"(?P<name>[^@,]+)(@(?P<bitrate>\d+(\.\d+)?)(kbps|kb/s)?)?")


def compare(
    sound: Annotated[Path, typer.Argument(help="A sound file; speech lets every judge speak.", show_default=False)],
    codecs: Annotated[
        str,
        typer.Option(
            "--codecs",
            help="all (those that come along, official ones in the Hugging Face cache, Opus at their bit rates), or "
            "names with commas between them, each with @KBPS where not all of its bits are wanted: "
            "nexus/encodec-tiny@1,opus@6kbps.",
        ),
    ] = "all",
    output: Annotated[
        Path, typer.Option("--output", "-o", help="The folder for report, sheet, JSON and media; new or empty.")
    ] = Path("comparison"),
    duration: Annotated[
        float, typer.Option("--duration", min=SHORTEST, max=LONGEST, help="Seconds from the start that are compared.")
    ] = 30.0,
    text: Annotated[
        str | None, typer.Option("--text", help="What is said in it, for word error rates.", show_default="Whisper's")
    ] = None,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Passes SOUND through each codec and judges what comes back: bit rate, distances, quality, clearness, speed.

    nexus codec compare in.wav --codecs all -o DIR
    """
    from nexus.metrics.compare_codecs import compare_codecs, opus_at
    from nexus.metrics.report_codecs import as_json as facts_of
    from nexus.metrics.report_codecs import write_comparison

    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise ValueError(f"{output} is there already; give -o a new folder")
    wanted = read_codecs(codecs)
    heard, cut = read_sound(sound, duration)
    with Watch() as watch:
        for one in wanted or []:
            if one.bitrate is not None and one.name != "opus":
                neural(one, device)  # refuses a bit rate that it has not, before work starts
        watch.stage("loading judges")
        beside = opus_at if wanted is None else None
        found = compare_codecs(heard, coders(wanted, device), text=text, beside=beside, progress=watch.during)
        watch.stage(f"writing {output}")
        write_comparison(found, output, sound.name)
    if as_json:
        told = {"path": str(output), "cut": cut} | facts_of(found, sound.name)
        typer.echo(json.dumps(told, ensure_ascii=False))
        return
    show(found)
    if cut:
        typer.echo(cut)
    typer.echo(str(output / "report.html"))


@dataclass(frozen=True)
class Wanted:
    """A codec by name, at a bit rate (kb/s a channel) or with all its bits."""

    name: str
    bitrate: float | None

    @property
    def label(self) -> str:
        return self.name if self.bitrate is None else f"{self.name}@{self.bitrate:g}kbps"


def read_codecs(codecs: str) -> list[Wanted] | None:
    """None for all.

    Raises:
        ValueError: no such codec, known before any work is done.
    """
    if codecs.strip() == "all":
        return None
    wanted = []
    for part in codecs.split(","):
        match = SPEC.fullmatch(part.strip())
        if match is None:
            raise ValueError(f"--codecs: {part.strip()!r} is neither all, NAME nor NAME@KBPS")
        bitrate = match["bitrate"] and float(match["bitrate"])
        wanted.append(Wanted(match["name"], bitrate or None))
        if match["name"] == "opus" and not bitrate:
            raise ValueError("--codecs: say at which bit rate, such as opus@6kbps")
        if match["name"] != "opus":
            check_codec(match["name"])
    return wanted


def all_codecs() -> list[str]:
    """Codecs that come along, and official ones that are whole in the local cache of the hub."""
    from nexus.hub.source import OFFICIAL, embedded_names

    held = cached()
    names = [*embedded_names(), *(name for name in OFFICIAL if name in held)]
    return [name for name in names if _kind(name) in CODECS]


def _kind(name: str) -> str | None:
    """None where too little of it is there to tell."""
    from nexus.hub.load import kind_of

    try:
        return kind_of(name)
    except (OSError, ValueError):
        return None


def cached() -> set[str]:
    """Ids of the models in the local cache of the hub."""
    from huggingface_hub import scan_cache_dir
    from huggingface_hub.errors import CacheNotFound

    try:
        return {repo.repo_id for repo in scan_cache_dir().repos}
    except CacheNotFound:
        return set()


def coders(wanted: list[Wanted] | None, device: str) -> "list[Callable[[], Coder]]":
    """What gives each codec when its turn comes; None for all."""
    from nexus.metrics.compare_codecs import Opus

    if wanted is None:
        wanted = [Wanted(name, None) for name in all_codecs()]
    return [
        partial(Opus, bitrate=one.bitrate) if one.name == "opus" else partial(neural, one, device)  # type: ignore[arg-type]
        for one in wanted
    ]


def neural(one: Wanted, device: str) -> Any:
    import nexus
    from nexus.codecs.long_sounds import codebooks_at
    from nexus.metrics.compare_codecs import Neural

    codec = nexus.load(one.name, device=device, dtype="fp32")
    if one.bitrate is not None:
        codebooks_at(codec, one.bitrate)  # refuses what the codec has not
    return Neural(codec=codec, bitrate=one.bitrate, name=one.label)


def read_sound(path: Path, duration: float) -> "tuple[Audio, str]":
    """The beginning of a file, and in words what was left off.

    Raises:
        ValueError: too short or silent to be compared.
    """
    import numpy as np

    from nexus.media.audio import Audio
    from nexus.media.audio_blocks import open_blocks

    source = open_blocks(path)
    wanted, blocks, n = round(duration * source.rate), [np.zeros((source.channels, 0), np.float32)], 0
    for block in source.blocks:
        blocks.append(block)
        n += block.shape[1]
        if n > wanted:
            break
    sound = Audio(np.concatenate(blocks, axis=1)[:, :wanted], source.rate)
    if sound.seconds < SHORTEST:
        raise ValueError(f"{path} lasts {sound.seconds:.3g} s; judges need at least {SHORTEST:g} s")
    if not sound.peak:
        raise ValueError(f"{path} is silent; there is nothing to compare")
    return sound, f"compared on the first {duration:g} s" if n > wanted else ""


def show(found: "Comparison") -> None:
    """A codec a column: there are more measures than codecs, and terminals are higher than wide."""
    from rich.console import Console
    from rich.table import Table

    from nexus.metrics.report_codecs import cell

    table = Table(box=None, pad_edge=False)
    for heading in ("", *(row.name for row in found.rows)):
        table.add_column(heading, overflow="fold")
    for measure in found.measures:
        label = (
            f"{measure.name}{f' ({measure.unit})' if measure.unit else ''} {'↑' if measure.better == 'higher' else '↓'}"
        )
        table.add_row(label, *(cell(row, measure.name) for row in found.rows))
    Console().print(table)
    for row in found.rows[1:]:
        for note in row.notes:
            typer.echo(f"{row.name}: {note}")
    for sentence in found.left_out:
        typer.echo(f"left out: {sentence}")
