"""The command `nexus`."""

import typer

from nexus.cli.train import train

app = typer.Typer(no_args_is_help=True, add_completion=False, help=__doc__)
app.command()(train)


@app.callback()
def root() -> None:
    """Words into speech, music, sound and moving pictures, cut into a film."""


def run() -> None:
    app()
