"""The sections of a page that `nexus eval digits-table` writes, each of the runs that it finds."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import torch

import nexus
from nexus.cli.digits_rows import CLAIMS, CODES, CYCLE, REPEATED, ROWS, SEEDS, STACKED, STACKED_CLAIMS, again
from nexus.cli.progress import Watch
from nexus.data.digits import digits
from nexus.hub.load import weights_hash
from nexus.hub.source import find
from nexus.media import Image
from nexus.media.sheet import contact_sheet
from nexus.metrics.digits_table import (
    Row,
    codes_table,
    stacked_table,
    table,
    told,
    told_of_several,
    told_of_trainings,
    translation_table,
)
from nexus.metrics.evaluate_digits import evaluate_digits
from nexus.metrics.evaluate_stacked import evaluate_stacked
from nexus.metrics.evaluate_translation import evaluate_translation
from nexus.metrics.evaluate_vae import evaluate_vae
from nexus.metrics.figures import Evaluation, from_json, to_json
from nexus.models.diffusion.rectified_flow import straightness
from nexus.models.gan.cycle_gan import CycleGAN
from nexus.models.vae.vae import VAE
from nexus.process.noise import gaussian, generators
from nexus.training.checkpoint import found

TILE, SHOWN = 32, 10  # pixels and pictures of a row's line
STACKED_ITEMS = 10_000


def sections(runs: Path, items: int, watch: Watch, picture: Path) -> dict[str, str]:
    """By name; a line of each model of the digits is saved in `picture`."""
    return {
        "digits": _digits(runs, items, watch, picture),
        "stacked digits": _stacked(runs, watch),
        "codes": _codes(runs),
        "day and night": _day_and_night(runs / CYCLE, watch),
    }


def _digits(runs: Path, items: int, watch: Watch, picture: Path) -> str:
    rows = [row for row in ROWS if is_whole(runs / row.run)]
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


def _stacked(runs: Path, watch: Watch) -> str:
    rows = [row for row in STACKED if is_whole(runs / row.run)]
    if not rows:
        return ""
    several = _of_all_seeds(rows, runs, STACKED_ITEMS, watch)
    claims = [sentence for claim in STACKED_CLAIMS if (sentence := told_of_trainings(claim, several))]
    return "\n".join(["", stacked_table([(row, several[row.name]) for row in rows]), "", *claims])


def _codes(runs: Path) -> str:
    x, rows = digits("valid").image, []
    for row in CODES:
        if is_whole(runs / row.run):
            model = cast(VAE, nexus.load(runs / row.run / "weights", device="cpu"))
            rows.append((row, _trained(runs / row.run), evaluate_vae(model, x)))
    return f"\n{codes_table(rows)}\n" if rows else ""


def _day_and_night(run: Path, watch: Watch) -> str:
    if not is_whole(run):
        return ""
    watch.stage("measuring translations")
    model = cast(CycleGAN, nexus.load(run / "weights", device="cpu"))
    return f"\n{translation_table(evaluate_translation(model))}\n"


def left_out(runs: Path) -> list[str]:
    wanted = {row.run for row in (*ROWS, *STACKED, *CODES)} | {CYCLE}
    return sorted(run for run in wanted if not is_whole(runs / run))


def is_whole(run: Path) -> bool:
    """Whether a run left weights and was not stopped before its last step."""
    newest = next(iter(found(run / "checkpoints")), None)
    stopped = newest is not None and int(newest.name.removeprefix("step-")) < _trained(run)
    return (run / "weights" / "config.json").is_file() and not stopped


def _of_all_seeds(rows: list[Row], runs: Path, items: int, watch: Watch) -> dict[str, dict[int, Evaluation]]:
    """Evaluations by row and by the seed of its training: of each row the first, of some the others that are there."""
    several = {row.name: {0: _measured(row, runs, items, watch)} for row in rows}
    for row in rows:
        if row.run not in REPEATED or row.untrained:
            continue
        others = {seed: replace(row, run=again(row.run, seed)) for seed in SEEDS}
        there = {seed: other for seed, other in others.items() if is_whole(runs / other.run)}
        several[row.name] |= {seed: _measured(other, runs, items, watch) for seed, other in there.items()}
    return several


def _trained(run: Path) -> int:
    recipe = run / "recipe.json"
    return json.loads(recipe.read_text())["loop"]["steps"] if recipe.is_file() else 0


def _kept(row: Row, runs: Path, items: int) -> Path:
    """Where a row's evaluation is kept, by what it is of; beside it lies a line of its pictures."""
    weights = weights_hash(find(runs / row.run / "weights"))
    told = f"{row.untrained} {sorted(row.settings.items())} {items} {weights}"
    return runs / "digits-table" / f"{row.run}-{hashlib.sha256(told.encode()).hexdigest()[:12]}.json"


def _measured(row: Row, runs: Path, items: int, watch: Watch) -> Evaluation:
    """The evaluation of a row, made or kept."""
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
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return type(model)(model.config).eval()


def _straightness(weights: list[Path]) -> list[str]:
    """A sentence with the straightness of both flows' paths, where both are there."""
    if not all((folder / "config.json").is_file() for folder in weights):
        return []
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
