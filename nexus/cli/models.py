"""`nexus models`: the weights that come along, and their cards."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from nexus.cli.options import Json


def models(
    name: Annotated[str | None, typer.Argument(help="Show this one's card.", show_default=False)] = None,
    as_json: Json = False,
) -> None:
    """Lists the weights that come along: kind, size, licence and measured figures."""
    from nexus.hub.source import embedded_names, find

    if name is not None:
        typer.echo((find(name).part("README.md").path).read_text())
        return
    found = [describe(name, find(name).path) for name in embedded_names()]
    if as_json:
        typer.echo(json.dumps(found, ensure_ascii=False))
    else:
        _show(found)


def describe(name: str, folder: Path) -> dict[str, Any]:
    """A row of the list; figures are the line of the card that begins with "Figures:"."""
    config = json.loads((folder / "config.json").read_text())
    card = folder / "README.md"
    lines = card.read_text().splitlines() if card.is_file() else []
    figures = next((line for line in lines if line.lower().startswith("figures:")), "")
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    return {
        "name": name,
        "kind": config["kind"],
        "megabytes": round(size / 1e6, 1),
        "licence": config["licence"],
        "figures": figures.partition(":")[2].strip(),
    }


def _show(found: list[dict[str, Any]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for heading in ("name", "kind", "size", "licence", "figures"):
        table.add_column(heading, no_wrap=heading == "name")
    for row in found:
        table.add_row(row["name"], row["kind"], f"{row['megabytes']:.1f} MB", row["licence"], row["figures"])
    Console().print(table)
    typer.echo("Official weights are loaded by their Hugging Face id or folder, such as facebook/musicgen-small.")
