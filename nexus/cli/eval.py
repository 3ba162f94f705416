"""`nexus eval`: how good a model is, told by judges that others made."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from nexus.cli.options import Device, Json
from nexus.cli.progress import Watch

if TYPE_CHECKING:
    from nexus.metrics.figures import Evaluation, Figure

app = typer.Typer(no_args_is_help=True, help="Measure a model, by judges that others made.")

Model = Annotated[
    str, typer.Option("--model", "-m", help="A name from `nexus models`, a folder or file, or a Hugging Face id.")
]
Data = Annotated[str, typer.Option("--data", help="The split to measure on.")]
Items = Annotated[int, typer.Option("--items", min=2, help="How many, evenly spread over the data.")]
Seed = Annotated[int, typer.Option("--seed", min=0, max=2**31, help="Item i is made with seed + i.")]
Output = Annotated[Path, typer.Option("--output", "-o", help="The folder for report, JSON and media; new or empty.")]
Against = Annotated[
    str | None, typer.Option("--against", help="Measure this model too, and tell the differences.", show_default=False)
]
Fad = Annotated[
    Literal["whisper", "resemblyzer", "vggish", "clap"] | None,
    typer.Option("--fad", help="Also the Fréchet audio distance in this network's features.", show_default=False),
]
Corpus = Annotated[Path, typer.Option("--corpus", help="The folder of the speech corpus.")]
Seconds = Annotated[float, typer.Option("--duration", min=2, max=30, help="Seconds of each piece.")]


@app.callback()
def root() -> None:
    pass


@app.command()
def speech(
    model: Model = "nexus/f5tts-tiny",
    data: Data = "valid",
    items: Items = 60,
    seed: Seed = 0,
    output: Output = Path("evaluation"),
    against: Against = None,
    fad: Fad = None,
    corpus: Corpus = Path("../shared/data/speech"),
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """How clearly, alike and well a model speaks held-out sentences; of a codec or vocoder, what it keeps of speech.

    nexus eval speech --model nexus/f5tts-tiny --data valid --items 60 -o DIR
    """
    from nexus.metrics.evaluate_speech import KINDS, evaluate_speech

    def measure(loaded: Any, progress: Watch) -> "Evaluation":
        return evaluate_speech(loaded, corpus, data, items=items, seed=seed, fad=fad, progress=progress.during)

    Run(model=model, against=against, output=output, device=device, kinds=KINDS, as_json=as_json)(measure)


@app.command()
def music(
    model: Model = "nexus/musicgen-tiny",
    data: Data = "valid",
    items: Items = 40,
    seed: Seed = 0,
    output: Output = Path("evaluation"),
    against: Against = None,
    fad: Fad = None,
    duration: Seconds = 10.0,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Whether music has the tempo, key and style of its prompt, and follows its melody; of CLAP, whether it hears them.

    nexus eval music --model nexus/musicgen-tiny --data valid --items 40 -o DIR
    """
    split = of_splits(data)
    ranks = is_clap(model, fad)

    def measure(loaded: Any, progress: Watch) -> "Evaluation":
        from nexus.metrics.evaluate_clap import evaluate_clap_music
        from nexus.metrics.evaluate_music import evaluate_music

        told = {"items": items, "seconds": duration, "seed": seed, "progress": progress.during}
        if ranks:
            return evaluate_clap_music(loaded, split, **told)
        return evaluate_music(loaded, split, fad=fad, **told)

    kinds = ("Clap",) if ranks else ("MusicGen",)
    Run(model=model, against=against, output=output, device=device, kinds=kinds, as_json=as_json)(measure)


@app.command()
def sound(
    model: Model = "nexus/sound-tiny",
    data: Data = "valid",
    items: Items = 64,
    seed: Seed = 0,
    output: Output = Path("evaluation"),
    against: Against = None,
    fad: Fad = None,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Whether a sound is of the kind that its caption names; of CLAP, whether it finds a caption of the kind.

    nexus eval sound --model nexus/sound-tiny --data valid --items 64 -o DIR
    """
    split = of_splits(data)
    ranks = is_clap(model, fad)

    def measure(loaded: Any, progress: Watch) -> "Evaluation":
        from nexus.metrics.evaluate_clap import evaluate_clap_sound
        from nexus.metrics.evaluate_sound import evaluate_sound

        told = {"items": items, "seed": seed, "progress": progress.during}
        if ranks:
            return evaluate_clap_sound(loaded, split, **told)
        return evaluate_sound(loaded, split, fad=fad, **told)

    kinds = ("Clap",) if ranks else ("MusicGen",)
    Run(model=model, against=against, output=output, device=device, kinds=kinds, as_json=as_json)(measure)


@app.command()
def video(
    model: Model = "nexus/cogvideox-tiny",
    data: Data = "valid",
    items: Items = 40,
    seed: Seed = 0,
    output: Output = Path("evaluation"),
    against: Against = None,
    guidance: Annotated[
        float | None, typer.Option("--guidance", help="Guidance scale; by default the model's own.", show_default=False)
    ] = None,
    fid: Annotated[
        bool, typer.Option("--fid", help="Also Fréchet distances: frames (168 items), films (892).")
    ] = False,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Whether a video shows what its prompt names, where, when and going which way; of an autoencoder, what it keeps.

    Prompts are captions of the storybook world's clips.

    nexus eval video --model nexus/cogvideox-tiny --data valid --items 40 -o DIR
    """
    split = of_splits(data)

    def measure(loaded: Any, progress: Watch) -> "Evaluation":
        from nexus.metrics.evaluate_video import evaluate_video

        return evaluate_video(
            loaded, split, items=items, seed=seed, fid=fid, guidance_scale=guidance, progress=progress.during
        )

    kinds = ("CogVideoX", "CogVideoXVAE")
    Run(model=model, against=against, output=output, device=device, kinds=kinds, as_json=as_json)(measure)


@app.command()
def image(
    model: Model = "nexus/image-tiny",
    data: Data = "valid",
    items: Items = 100,
    seed: Seed = 0,
    output: Output = Path("evaluation"),
    against: Against = None,
    guidance: Annotated[
        float | None, typer.Option("--guidance", help="Guidance scale; by default the model's own.", show_default=False)
    ] = None,
    steps: Annotated[
        int | None, typer.Option("--steps", min=1, help="Denoising steps; by default the model's.", show_default=False)
    ] = None,
    fid: Annotated[bool, typer.Option("--fid", help="Also Fréchet distances, 2847 and 4554 items.")] = False,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Whether a picture shows what its prompt names, in which colour, where and when; how varied pictures are.

    Prompts are captions of the storybook world's stills.

    nexus eval image --model nexus/image-tiny --data valid --items 100 -o DIR
    """
    split = of_splits(data)

    def measure(loaded: Any, progress: Watch) -> "Evaluation":
        from nexus.metrics.evaluate_image import evaluate_image

        return evaluate_image(
            loaded,
            split,
            items=items,
            seed=seed,
            fid=fid,
            guidance_scale=guidance,
            steps=steps,
            progress=progress.during,
        )

    Run(model=model, against=against, output=output, device=device, kinds=("PixArt",), as_json=as_json)(measure)


def is_clap(model: str, fad: str | None) -> bool:
    """Whether it makes nothing, but tells how well sounds fit words.

    Raises:
        ValueError: a Fréchet distance is asked for of CLAP; a model that is not there.
    """
    from nexus.hub.load import kind_of

    if kind_of(model) != "Clap":
        return False
    if fad is not None:
        raise ValueError("CLAP makes no sounds whose Fréchet distance could be told; leave --fad away")
    return True


def of_splits(data: str) -> Any:
    """Raises ValueError for a split that the worlds have not."""
    if data not in ("train", "valid"):
        raise ValueError(f"unknown data {data!r}; there are train and valid")
    return data


@dataclass(frozen=True, kw_only=True)
class Run:
    """Loads one model or two, measures each the same way, writes and tells."""

    model: str
    against: str | None
    output: Path
    device: str
    kinds: tuple[str, ...]
    as_json: bool

    def __call__(self, measure: Callable[[Any, Watch], "Evaluation"]) -> None:
        names = [self.model] if self.against is None else [self.model, self.against]
        self.check(names)
        with Watch() as watch:
            found = [self.measured(name, measure, watch) for name in names]
            watch.stage(f"writing {self.output}")
            self.write(found)
        self.tell(*found)

    def check(self, names: list[str]) -> None:
        """Refuses, before work starts, models of another kind and a folder that holds something."""
        from nexus.hub.load import kind_of

        for name in names:
            kind = kind_of(name)
            if kind not in self.kinds:
                raise ValueError(
                    f"{name} is a {kind}, and this evaluation needs a {' or '.join(self.kinds)}; "
                    "`nexus models` lists what there is"
                )
        if self.output.is_dir() and any(self.output.iterdir()):
            raise ValueError(f"{self.output} is not empty; give -o a new folder, so that no results are mixed")
        if self.output.exists() and not self.output.is_dir():
            raise NotADirectoryError(20, "not a folder", str(self.output))

    def measured(self, name: str, measure: Callable[[Any, Watch], "Evaluation"], watch: Watch) -> "Evaluation":
        import nexus

        watch.stage(f"loading {name}")
        return measure(nexus.prepack(nexus.load(name, device=self.device)), watch)

    def write(self, found: "list[Evaluation]") -> None:
        from nexus.metrics.report import write_report
        from nexus.metrics.results import write_results

        self.output.mkdir(parents=True, exist_ok=True)
        for evaluation, folder in zip(found, (self.output, self.output / "against"), strict=False):
            write_results(evaluation, folder)
        write_report(found[0], self.output / "report.html", *found[1:])

    def tell(self, evaluation: "Evaluation", against: "Evaluation | None" = None) -> None:
        """One line of JSON, or a table in words."""
        from nexus.metrics.figures import to_json

        told = {"path": str(self.output), "evaluation": json.loads(to_json(evaluation))}
        if against is not None:
            told |= {"against": json.loads(to_json(against)), "differences": compared(evaluation, against)}
        if self.as_json:
            typer.echo(json.dumps(told, ensure_ascii=False))
            return
        show(evaluation, against)
        typer.echo(str(self.output / "report.html"))


def compared(evaluation: "Evaluation", against: "Evaluation") -> list[dict[str, Any]]:
    """The first less the second for each figure that both have, or why that is not told."""
    from nexus.metrics.figures import compare

    rows = []
    others = {figure.name: figure for figure in against.figures}
    for figure in evaluation.figures:
        if figure.name not in others:
            continue
        try:
            gap = compare(figure, others[figure.name])
            rows.append({"name": gap.name, "value": gap.value, "low": gap.low, "high": gap.high, "winner": gap.winner})
        except ValueError as why:
            rows.append({"name": figure.name, "not_compared": str(why)})
    return rows


def show(evaluation: "Evaluation", against: "Evaluation | None") -> None:
    from rich.console import Console
    from rich.table import Table

    columns = {evaluation.model: evaluation.figures}
    columns |= {} if against is None else {against.model: against.figures}
    columns |= evaluation.baselines
    table = Table(box=None, pad_edge=False)
    for heading in ("", *columns):
        table.add_column(heading)
    for name in dict.fromkeys(figure.name for figures in columns.values() for figure in figures):
        table.add_row(name, *(cell(name, figures) for figures in columns.values()))
    Console().print(table)
    for row in [] if against is None else compared(evaluation, against):
        if "not_compared" in row:
            typer.echo(row["not_compared"])
    for sentence in evaluation.left_out:
        typer.echo(f"left out: {sentence}")


def cell(name: str, figures: "tuple[Figure, ...]") -> str:
    """A value with its interval, as `2.31 (2.10 to 2.49)`; empty where there is none."""
    for figure in figures:
        if figure.name == name:
            return f"{figure.value:.3g}{figure.unit and ' ' + figure.unit} ({figure.low:.3g} to {figure.high:.3g})"
    return ""
