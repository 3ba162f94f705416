"""`nexus eval digits` and `digits-table`: what models of the digits are worth, one at a time or all in one table."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nexus.cli.eval import Against, Items, Output, Run, Seed
from nexus.cli.options import Device, Json
from nexus.cli.progress import Watch

if TYPE_CHECKING:
    from nexus.metrics.digits_table import Row
    from nexus.metrics.figures import Evaluation

TILE, SHOWN = 32, 10  # pixels and pictures of a row's line
STACKED_ITEMS = 10_000
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

        unconditional = type(loaded).__name__ == "BaseDiffusion"
        settings = {"steps" if unconditional else "n_steps": steps, "guidance_scale": guidance}
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
    from nexus.metrics.digits_table import SECTIONS, replaced

    text = page.read_text()
    for of in SECTIONS:
        replaced(text, of, "")  # refused before work starts
    with Watch() as watch:
        if train:
            _train(runs, watch)
        sections = {
            "digits": _section(runs, items, watch, page.with_name("digits.png")),
            "stacked digits": _stacked_section(runs, watch),
        }
    for of, section in sections.items():
        text = replaced(text, of, section)
    page.write_text(text)
    for name in _left_out(runs):
        typer.echo(f"left out: {name} has no weights; `nexus eval digits-table --train` trains it", err=True)
    typer.echo(str(page))


def _train(runs: Path, watch: Watch) -> None:
    from nexus.cli.digits_rows import TRAININGS
    from nexus.recipes.find import find_recipe
    from nexus.training.loop import train
    from nexus.training.recipe import override

    for name, (recipe, settings) in TRAININGS.items():
        if not _is_whole(runs / name):
            watch.stage(f"training {name}")
            settings = [setting.replace("runs/", f"{runs}/") for setting in settings]
            train(override(find_recipe(recipe), settings), runs / name)


def _section(runs: Path, items: int, watch: Watch, picture: Path) -> str:
    from nexus.cli.digits_rows import CLAIMS, ROWS
    from nexus.media import Image
    from nexus.media.sheet import contact_sheet
    from nexus.metrics.digits_table import table, told, told_of_several

    rows = [row for row in ROWS if _is_whole(runs / row.run)]
    if not rows:
        raise ValueError(f"there are no weights of recipes of the digits in {runs}; --train makes them")
    several = _of_all_seeds(rows, runs, items, watch)
    figures = {name: trainings[0] for name, trainings in several.items()}
    claims = [
        sentence
        for claim in CLAIMS
        for sentence in (told(claim, figures), told_of_several(claim, several))
        if sentence is not None
    ]
    flows = _straightness([runs / name / "weights" for name in ("digits-flow", "digits-rectified")])
    contact_sheet([Image.load(_kept(row, runs, items).with_suffix(".png")) for row in rows], 1).save(picture)
    shown = f"![A line of each row of the table, from the top]({picture.name})"
    lines = table([(row, _trained(runs / row.run), figures[row.name]) for row in rows])
    return "\n".join(["", lines, "", shown, "", *claims, *flows])


def _stacked_section(runs: Path, watch: Watch) -> str:
    from nexus.cli.digits_rows import STACKED, STACKED_CLAIMS
    from nexus.metrics.digits_table import stacked_table, told_of_trainings

    rows = [row for row in STACKED if _is_whole(runs / row.run)]
    if not rows:
        return ""
    several = _of_all_seeds(rows, runs, STACKED_ITEMS, watch)
    claims = [sentence for claim in STACKED_CLAIMS if (sentence := told_of_trainings(claim, several))]
    return "\n".join(["", stacked_table([(row, several[row.name]) for row in rows]), "", *claims])


def _left_out(runs: Path) -> list[str]:
    from nexus.cli.digits_rows import ROWS, STACKED

    return sorted({row.run for row in (*ROWS, *STACKED) if not _is_whole(runs / row.run)})


def _is_whole(run: Path) -> bool:
    """Whether a run left weights and was not stopped before its last step."""
    from nexus.training.checkpoint import found

    newest = next(iter(found(run / "checkpoints")), None)
    stopped = newest is not None and int(newest.name.removeprefix("step-")) < _trained(run)
    return (run / "weights" / "config.json").is_file() and not stopped


def _of_all_seeds(rows: list["Row"], runs: Path, items: int, watch: Watch) -> dict[str, dict[int, "Evaluation"]]:
    """Evaluations by row and by the seed of its training: of each row the first, of some the others that are there."""
    from nexus.cli.digits_rows import REPEATED, SEEDS, again

    several = {row.name: {0: _measured(row, runs, items, watch)} for row in rows}
    for row in rows:
        if row.run not in REPEATED or row.untrained:
            continue
        others = {seed: replace(row, run=again(row.run, seed)) for seed in SEEDS}
        there = {seed: other for seed, other in others.items() if _is_whole(runs / other.run)}
        several[row.name] |= {seed: _measured(other, runs, items, watch) for seed, other in there.items()}
    return several


def _trained(run: Path) -> int:
    recipe = run / "recipe.json"
    return json.loads(recipe.read_text())["loop"]["steps"] if recipe.is_file() else 0


def _kept(row: "Row", runs: Path, items: int) -> Path:
    """Where a row's evaluation is kept, by what it is of; beside it lies a line of its pictures."""
    from nexus.hub.load import weights_hash
    from nexus.hub.source import find

    weights = weights_hash(find(runs / row.run / "weights"))
    told = f"{row.untrained} {sorted(row.settings.items())} {items} {weights}"
    return runs / "digits-table" / f"{row.run}-{hashlib.sha256(told.encode()).hexdigest()[:12]}.json"


def _measured(row: "Row", runs: Path, items: int, watch: Watch) -> "Evaluation":
    """The evaluation of a row, made or kept."""
    import nexus
    from nexus.media import Image
    from nexus.media.sheet import contact_sheet
    from nexus.metrics.evaluate_digits import evaluate_digits
    from nexus.metrics.evaluate_stacked import evaluate_stacked
    from nexus.metrics.figures import from_json, to_json

    kept = _kept(row, runs, items)
    if kept.is_file():
        return from_json(kept.read_text())
    watch.stage(f"measuring {row.name}")
    model = nexus.load(runs / row.run / "weights", device="cpu")
    if row.untrained:
        model = _fresh(model)
    if row.stacked:
        evaluation = evaluate_stacked(model, items=items, progress=watch.during)
    else:
        evaluation = evaluate_digits(model, items=items, settings=row.settings, progress=watch.during)
    kept.parent.mkdir(parents=True, exist_ok=True)
    pictures = [item.made for item in evaluation.items[:SHOWN] if isinstance(item.made, Image)]
    line = [picture.resize(TILE, TILE) for picture in pictures]
    contact_sheet(line, len(line)).save(kept.with_suffix(".png"))
    kept.write_text(to_json(evaluation))
    return evaluation


def _fresh(model: Any) -> Any:
    """The same model before its first step."""
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return type(model)(model.config).eval()


def _straightness(weights: list[Path]) -> list[str]:
    """A sentence with the straightness of both flows' paths, where both are there."""
    if not all((folder / "config.json").is_file() for folder in weights):
        return []
    import torch

    import nexus
    from nexus.models.diffusion.rectified_flow import straightness
    from nexus.process.noise import gaussian, generators

    label, values = torch.arange(100) % 10, []
    for folder in weights:
        flow = nexus.load(folder, device="cpu")
        noise = gaussian(flow.shape, generators(0, 100))
        values.append(straightness(flow.field(label, flow.config.guidance_scale), noise).mean().item())
    seen = "reproduced" if values[1] < values[0] else "**not reproduced**"
    return [
        f"- Reflow straightens: {seen} (mean squared distance of the velocity from its path's chord, over the "
        f"chord's square, 100 paths under the guidance of the pairs: {values[0]:.3f} before, {values[1]:.3f} after)."
    ]
