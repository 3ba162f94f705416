"""The options that the commands share."""

import sys
from pathlib import Path
from typing import Annotated

import typer

Text = Annotated[str, typer.Argument(help="What to say; - reads it from standard input.", show_default=False)]
Prompt = Annotated[str, typer.Argument(help="What to make, in words; - reads it from standard input.")]
Model = Annotated[
    str,
    typer.Option("--model", "-m", help="A name from `nexus models`, a folder or file, or a Hugging Face id."),
]
Seed = Annotated[
    int | None,
    typer.Option("--seed", min=0, max=2**32 - 1, help="The same seed makes the same again.", show_default="a new one"),
]
Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda or cuda:N.")]
Output = Annotated[
    Path | None,
    typer.Option("--output", "-o", help="The file to write; its suffix says the format.", show_default=False),
]
Json = Annotated[bool, typer.Option("--json", help="Print what was made, and from what, as JSON.")]
Cache = Annotated[
    float | None,
    typer.Option("--cache", min=0.0, max=2.0, help="Skip steps that change little: 0 none, 0.3 some, 0.6 many."),
]
Candidates = Annotated[
    int | None,
    typer.Option(
        "--candidates",
        min=1,
        max=64,
        help="How many are made; the one nearest to PROMPT is kept. Not with --stream.",
        show_default="the model's",
    ),
]
Stream = Annotated[
    bool,
    typer.Option("--stream", help="Send the sound to standard output as WAV while it is being made."),
]


def read_text(argument: str, at_most: int, what: str) -> str:
    """The argument, or standard input for `-`.

    Raises:
        ValueError: it is empty or longer than `at_most` characters.
    """
    text = sys.stdin.read(at_most + 1) if argument == "-" else argument
    if not text.strip():
        raise ValueError(f"the {what} is empty; give at least one word")
    if len(text) > at_most:
        size = f"over {at_most}" if argument == "-" else str(len(text))
        raise ValueError(f"the {what} has {size} characters, at most {at_most} are allowed; shorten or split it")
    return text.strip()
