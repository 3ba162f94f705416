"""The command `nexus`: its subcommands, and how failures end (2 wrong usage, 1 failed, 130 stopped)."""

import importlib.util
import os
import re
import sys
import traceback
from typing import Annotated, NoReturn

import typer

from nexus.cli import (
    codec,
    data,
    eval,
    eval_digits,
    eval_sync,
    film,
    image,
    models,
    music,
    rate,
    say,
    sound,
    train,
    video,
)

USAGE, FAILED, STOPPED = 2, 1, 130

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    help="Words into speech, music, sound and moving pictures, cut into a film.",
)
for command in (film.film, say.say, music.music, sound.sound, video.video, image.image, models.models, train.train):
    app.command()(command)
app.add_typer(codec.app, name="codec")
app.add_typer(data.app, name="data")
eval.app.command()(rate.rate)
eval.app.command()(eval_digits.digits)
eval.app.command("digits-table")(eval_digits.digits_table)
eval.app.command()(eval_sync.sync)
app.add_typer(eval.app, name="eval")


def _version(wanted: bool) -> bool:
    if wanted:
        from nexus import __version__

        typer.echo(f"nexus {__version__}")
        raise typer.Exit
    return wanted


@app.callback()
def root(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Say which.")] = False,
) -> None:
    pass


def main(arguments: list[str]) -> int:
    """Runs the command line; the exit code. Whatever goes wrong ends in a sentence on stderr."""
    try:
        app(arguments, prog_name="nexus")
    except SystemExit as done:
        return done.code if isinstance(done.code, int) else FAILED
    except KeyboardInterrupt:
        return STOPPED
    except Exception as error:
        if os.environ.get("NEXUS_DEBUG") == "1":
            traceback.print_exc()
        code, sentence = explain(error)
        sys.stderr.write(f"nexus: {sentence}\n")
        return code
    return 0


def explain(error: Exception) -> tuple[int, str]:
    """Exit code and sentence for an exception."""
    said = str(error)
    if isinstance(error, UnicodeDecodeError):
        return USAGE, f"the text is not UTF-8 ({error.reason} at byte {error.start})"
    if isinstance(error, ValueError):
        return USAGE, said
    if isinstance(error, FileNotFoundError | NotADirectoryError | IsADirectoryError):
        return USAGE, _of_system(error)
    if isinstance(error, OSError):
        return FAILED, _of_system(error)
    if isinstance(error, ModuleNotFoundError):
        return FAILED, f"{said}; {_extra(error.name or '')}"
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError" or "allocate memory" in said:
        return FAILED, "out of memory; ask for something shorter or smaller, or use --device cpu"
    if type(error).__module__.startswith("nexus."):
        return FAILED, said
    return FAILED, f"unexpected {type(error).__name__}: {said} (NEXUS_DEBUG=1 shows where)"


def _of_system(error: OSError) -> str:
    """`[Errno 28] No space left on device: 'a.wav'`, as a sentence."""
    if error.strerror is None:
        return str(error)
    said = error.strerror[:1].lower() + error.strerror[1:]
    return f"{error.filename}: {said}" if error.filename else said


def _extra(module: str) -> str:
    """What to install for a missing module."""
    from importlib.metadata import PackageNotFoundError, requires

    try:
        needed = requires("nexus-media") or []
    except PackageNotFoundError:
        needed = []
    name = module.split(".")[0].replace("_", "-")
    for extra in ("train", "eval"):
        if any(need.lower().startswith(name) and re.search(f"extra == ['\"]{extra}", need) for need in needed):
            return f"install it with: pip install 'nexus-media[{extra}]'"
    installed = importlib.util.find_spec("torch") is not None
    return "the installation is incomplete: pip install nexus-media" if installed else "pip install torch nexus-media"


def run() -> NoReturn:
    """Entry point of the installed command."""
    code = main(sys.argv[1:])
    try:
        sys.stdout.flush()
    except BrokenPipeError:  # whoever read our output has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = FAILED
    sys.exit(code)
