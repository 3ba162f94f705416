"""Mode collapse and its remedies, counted: 25 Gaussians on a grid, and the ten digits.

python examples/mode_collapse.py [folder] [seeds]

Trains every teacher on the same generator for as many of its steps and prints two tables, with the processor time that
each took. Runs that are there already go on or are taken as they are.
"""

import sys
import time
from dataclasses import replace
from pathlib import Path

import torch

import nexus
from nexus.data.gaussians import DEVIATION, centres
from nexus.metrics.evaluate_digits import COVERED, FRECHET, LIKENESS, evaluate_digits
from nexus.metrics.modes import point_modes
from nexus.process.gan import NonSaturating
from nexus.recipes import digits_conditional_gan, digits_gan, digits_wgan, digits_wgan_clipped, grid_gan
from nexus.training.gan import GANRecipe
from nexus.training.loop import train

R1 = NonSaturating(r1_weight=1.0)
DIGITS = {
    "non-saturating": digits_gan.recipe,
    "R1": replace(digits_gan.recipe, game=R1, norm="none"),
    "spectral norm": replace(digits_gan.recipe, norm="spectral"),
    "R1, augmented": replace(digits_gan.recipe, game=R1, norm="none", augment=("translation", "cutout")),
    "WGAN, clipped": digits_wgan_clipped.recipe,
    "WGAN-GP": digits_wgan.recipe,
    "classes, spectral norm": replace(digits_conditional_gan.recipe, game=NonSaturating(), norm="spectral"),
    "classes, R1": digits_conditional_gan.recipe,
}
SHOWN = (COVERED, FRECHET, LIKENESS)


def run(recipe: GANRecipe, folder: Path, seed: int) -> tuple[Path, float]:
    """Its weights, and the seconds of processor time that they took."""
    begun = time.process_time()
    weights = train(replace(recipe, loop=replace(recipe.loop, seed=seed)), folder)
    return weights, time.process_time() - begun


def main(folder: Path, seeds: int) -> None:
    torch.set_num_threads(1)
    print("| teacher | seed | modes of 25 | points in a mode | seconds |\n|---|--:|--:|--:|--:|")
    for seed in range(seeds):
        for name, recipe in grid_gan.TEACHERS.items():
            weights, seconds = run(recipe, folder / f"grid-{seed}" / name, seed)
            modes = point_modes(nexus.load(weights).generate(grid_gan.SHOWN, seed=0), centres(), DEVIATION)
            print(f"| {name} | {seed} | {modes.covered} | {100 * modes.good:.0f} % | {seconds:.0f} |", flush=True)
    print(f"\n| teacher | seed | {' | '.join(SHOWN)} | seconds |\n|---|--:{'|--:' * len(SHOWN)}|--:|")
    for seed in range(seeds):
        for name, recipe in DIGITS.items():
            weights, seconds = run(recipe, folder / f"digits-{seed}" / name, seed)
            found = {figure.name: figure.value for figure in evaluate_digits(nexus.load(weights), items=500).figures}
            values = " | ".join(f"{found[shown]:.3g}" for shown in SHOWN)
            print(f"| {name} | {seed} | {values} | {seconds:.0f} |", flush=True)


if __name__ == "__main__":
    given = sys.argv[1:]
    main(Path(given[0] if given else "runs/mode-collapse"), int(given[1]) if len(given) > 1 else 1)
