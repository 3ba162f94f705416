"""`nexus eval digits` and `digits-table`: what models of the digits are worth, one at a time or all in one table."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nexus.cli.eval import Against, Items, Output, Run, Seed
from nexus.cli.options import Device, Json
from nexus.cli.progress import Watch

if TYPE_CHECKING:
    from nexus.metrics.figures import Evaluation

KINDS = (
    "BaseDiffusion",
    "ConditionalDiffusion",
    "FlowMatching",
    "RectifiedFlow",
    "ConsistencyModel",
    "LCM",
    "BaseGAN",
    "ConditionalGAN",
    "WGAN",
    "VAE",
    "BetaVAE",
)


def digits(
    model: Annotated[str, typer.Option("--model", "-m", help="The weights of a recipe of the digits.")],
    items: Items = 500,
    seed: Seed = 0,
    output: Output = Path("evaluation"),
    against: Against = None,
    steps: Annotated[
        int | None, typer.Option("--steps", min=1, help="Sampling steps; by default the model's.", show_default=False)
    ] = None,
    guidance: Annotated[
        float | None, typer.Option("--guidance", help="Guidance scale; by default the model's.", show_default=False)
    ] = None,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Whether digits are those that were asked for, like the data, unlike one another; at what cost.

    nexus eval digits --model runs/digits-classes/weights --guidance 2 -o DIR
    """

    def measure(loaded: Any, progress: Watch) -> "Evaluation":
        from nexus.metrics.evaluate_digits import evaluate_digits

        settings = {"steps": steps, "guidance_scale": guidance}
        given = {name: value for name, value in settings.items() if value is not None}
        return evaluate_digits(loaded, items=items, seed=seed, settings=given, progress=progress.during)

    Run(model=model, against=against, output=output, device=device, kinds=KINDS, as_json=as_json)(measure)


def digits_table(
    runs: Annotated[Path, typer.Option("--runs", help="Where the recipes' runs are.")] = Path("runs"),
    page: Annotated[Path, typer.Option("--page", help="The page whose section is written.")] = Path("docs/results.md"),
    items: Items = 300,
    train: Annotated[bool, typer.Option("--train", help="Train first what has no weights yet.")] = False,
) -> None:
    """Measures every model of the digits that is in the runs' folder; writes the tables into the page, and digits.png.

    What was measured before (the same weights, settings and items) is taken from RUNS/digits-table.

    nexus eval digits-table --train
    """
    from nexus.cli.digits_sections import left_out, sections
    from nexus.metrics.digits_table import SECTIONS, replaced

    text = page.read_text()
    for of in SECTIONS:
        replaced(text, of, "")  # refused before work starts
    with Watch() as watch:
        if train:
            _train(runs, watch)
        made = sections(runs, items, watch, page.with_name("digits.png"))
    for of, section in made.items():
        text = replaced(text, of, section)
    page.write_text(text)
    for name in left_out(runs):
        typer.echo(f"left out: {name} has no weights; `nexus eval digits-table --train` trains it", err=True)
    typer.echo(str(page))


def _train(runs: Path, watch: Watch) -> None:
    from nexus.cli.digits_rows import TRAININGS
    from nexus.cli.digits_sections import is_whole
    from nexus.recipes.find import find_recipe
    from nexus.training.loop import train
    from nexus.training.recipe import override

    for name, (recipe, settings) in TRAININGS.items():
        if not is_whole(runs / name):
            watch.stage(f"training {name}")
            settings = [setting.replace("runs/", f"{runs}/") for setting in settings]
            train(override(find_recipe(recipe), settings), runs / name)
