"""`nexus eval rate`: a listening or viewing test on this machine, and what its answers say."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from nexus.cli.options import Json

if TYPE_CHECKING:
    from nexus.metrics.rating import Test
    from nexus.metrics.rating_results import Results
    from nexus.metrics.rating_set import MediaSet

DEFAULT_PORT = 8765
REFERENCE = "reference"  # the folder that is the reference where none is named


def rate(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="One folder of media a system, same file names.", show_default=False)
    ],
    test: Annotated[
        Literal["mos", "mushra", "ab"] | None,
        typer.Option(
            "--test",
            help="Grades one by one, side by side against a reference, or in pairs.",
            show_default="mos, or the test begun",
        ),
    ] = None,
    reference: Annotated[
        str | None, typer.Option("--reference", help="The system that is the reference.", show_default=REFERENCE)
    ] = None,
    question: Annotated[
        str | None, typer.Option("--question", help="What raters are asked.", show_default="how good it is")
    ] = None,
    seed: Annotated[int | None, typer.Option("--seed", min=0, help="Of the orders.", show_default="0")] = None,
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="0 is any that is free.")] = DEFAULT_PORT,
    results: Annotated[bool, typer.Option("--results", help="Print what the answers say, and serve nothing.")] = False,
    as_json: Json = False,
) -> None:
    """Serves a blind test of the media in DIR to browsers on this machine, until Ctrl-C; --results tells the outcome.

    nexus eval rate runs/voices --test mushra --reference natural
    """  # fmt: skip
    if results:
        given = {"--test": test, "--reference": reference, "--question": question, "--seed": seed}
        if wrong := [name for name, value in given.items() if value is not None]:
            raise ValueError(f"{wrong[0]} is for a new test; --results tells of the one that was begun")
        found = read_results(folder)
        typer.echo(json.dumps(as_data(found), ensure_ascii=False) if as_json else "", nl=as_json)
        if not as_json:
            show(found)
        return
    if as_json:
        raise ValueError("--json is for --results; a test that is being served prints its address alone")
    serve(folder, test, reference, question, seed, port)


def serve(
    folder: Path, kind: str | None, reference: str | None, question: str | None, seed: int | None, port: int
) -> None:
    """Until Ctrl-C, which is how it is meant to end."""
    from nexus.cli.rating_server import RatingServer
    from nexus.metrics.rating_set import read_set
    from nexus.metrics.rating_store import FILE, RatingStore

    media = read_set(folder)
    store = RatingStore(folder / FILE)
    chosen = choose(media, store.test(), kind, reference, question, seed)
    with RatingServer(port, chosen, media, store) as server:
        store.begin(chosen, media.digests)
        passed = f", {media.passed_over} files passed over that are not media" if media.passed_over else ""
        typer.echo(f"{chosen.kind}: {len(chosen.systems)} systems, {len(chosen.items)} items{passed}")
        typer.echo(f"{server.address} is open to this machine; answers go to {store.path}; Ctrl-C ends it")
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            typer.echo(f"\nclosed; `nexus eval rate {folder} --results` tells the outcome, the same command goes on")


def choose(
    media: "MediaSet", begun: "Test | None", kind: Any, reference: str | None, question: str | None, seed: int | None
) -> "Test":
    """The test asked for; what is not said is as in the one that was begun."""
    from nexus.metrics.rating import QUESTIONS, Test

    if begun is None:
        kind = kind or "mos"
        reference = reference or (REFERENCE if REFERENCE in media.systems else None)
        question, seed = question or QUESTIONS[kind], seed or 0
    else:
        kind, reference = kind or begun.kind, reference or begun.reference
        question, seed = question or begun.question, begun.seed if seed is None else seed
    return Test(kind=kind, systems=media.systems, items=media.items, reference=reference, question=question, seed=seed)


def read_results(folder: Path) -> "Results":
    from nexus.metrics.rating_results import results
    from nexus.metrics.rating_store import FILE, RatingStore

    store = RatingStore(folder / FILE)
    begun = store.test()
    if begun is None:
        raise FileNotFoundError(f"{folder} holds no ratings yet; `nexus eval rate {folder}` begins a test")
    return results(begun, store.raters(), store.answers())


def as_data(found: "Results") -> dict[str, Any]:
    from nexus.metrics.rating_checks import RULES

    return {**asdict(found), "attention_checks": RULES[found.test.kind]}


def show(found: "Results") -> None:
    """The table for people: means, pairs, and who was left out."""
    from rich.console import Console

    from nexus.metrics.rating_checks import RULES

    console, test = Console(), found.test
    asked = f'{test.kind}, "{test.question}", {len(test.items)} items, {len(found.raters)} raters counted'
    console.print(asked, markup=False, highlight=False)
    if found.systems:
        console.print(_means(found))
    console.print(_pairs(found))
    notes = [f"Attention checks: {RULES[test.kind]}."]
    notes.append(f"Left out: {len(found.unfinished)} not finished, {len(found.failed)} failed the checks.")
    notes += [f"  {rater}: {reason}" for rater, reason in found.failed.items()]
    if len(found.raters) == 1:
        notes.append("One rater: the figures speak of that rater alone.")
    for note in notes:
        console.print(note, markup=False, highlight=False)


def _means(found: "Results") -> Any:
    from rich.markup import escape
    from rich.table import Table

    table = Table("system", "mean", "95 % interval", "ratings", box=None, pad_edge=False)
    for row in found.systems:
        name = {"rated": row.system, "reference": f"{row.system} (hidden reference)", "anchor": "anchor"}[row.role]
        table.add_row(escape(name), f"{row.mean:.2f}", f"{row.low:.2f} to {row.high:.2f}", str(row.n_ratings))
    return table


def _pairs(found: "Results") -> Any:
    from rich.markup import escape
    from rich.table import Table

    chosen = found.test.kind == "ab"
    value = "first preferred" if chosen else "difference"
    table = Table("first", "second", value, "95 % interval", "choices" if chosen else "items", "p", "p, corrected",
                  box=None, pad_edge=False)  # fmt: skip
    form = "{:.0%}" if chosen else "{:+.2f}"
    for pair in found.pairs:
        span = f"{form.format(pair.low)} to {form.format(pair.high)}"
        names = escape(pair.first), escape(pair.second)
        table.add_row(*names, form.format(pair.value), span, str(pair.n), f"{pair.p:.3g}", f"{pair.p_holm:.3g}")
    return table
