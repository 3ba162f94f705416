"""Mode collapse and its remedies, counted: 25 Gaussians on a grid, and the ten digits.

python examples/mode_collapse.py [folder] [seeds]

Trains every teacher on the same generator for as many of its steps and prints two tables; about twenty minutes on one
core for each seed. Runs that are there already go on or are taken as they are.
"""

import sys
import time
from dataclasses import replace
from pathlib import Path

import torch

import nexus
from nexus.data.gaussians import DEVIATION, centres
from nexus.metrics.evaluate_digits import evaluate_digits
from nexus.metrics.modes import point_modes
from nexus.process.gan import NonSaturating
from nexus.recipes import digits_gan, digits_wgan, grid_gan
from nexus.training.gan import GANRecipe
from nexus.training.loop import train

DIGITS = {
    "non-saturating": digits_gan.recipe,
    "R1": replace(digits_gan.recipe, game=NonSaturating(r1_weight=1.0), norm="none"),
    "spectral norm": replace(digits_gan.recipe, norm="spectral"),
    "R1, augmented": replace(
        digits_gan.recipe, game=NonSaturating(r1_weight=1.0), norm="none", augment=("translation", "cutout")
    ),
    "WGAN, clipped": digits_wgan.clipped,
    "WGAN-GP": digits_wgan.recipe,
}


def run(recipe: GANRecipe, folder: Path, seed: int) -> tuple[Path, float]:
    """Its weights, and the seconds of processor time that they took."""
    begun = time.process_time()
    weights = train(replace(recipe, loop=replace(recipe.loop, seed=seed)), folder)
    return weights, time.process_time() - begun


def main(folder: Path = Path("runs/mode-collapse"), seeds: int = 1) -> None:
    torch.set_num_threads(1)
    lines = ["| teacher | seed | modes of 25 | points in a mode | seconds |", "|---|--:|--:|--:|--:|"]
    for seed in range(seeds):
        for name, recipe in grid_gan.TEACHERS.items():
            weights, seconds = run(recipe, folder / f"grid-{seed}" / name, seed)
            modes = point_modes(nexus.load(weights).generate(grid_gan.SHOWN, seed=0), centres(), DEVIATION)
            lines.append(f"| {name} | {seed} | {modes.covered} | {100 * modes.good:.0f} % | {seconds:.0f} |")
            print(lines[-1], flush=True)
    for seed in range(seeds):
        for name, recipe in DIGITS.items():
            weights, seconds = run(recipe, folder / f"digits-{seed}" / name, seed)
            found = evaluate_digits(nexus.load(weights), items=500)
            values = ", ".join(f"{f.name} {f.value:.3g}" for f in found.figures)
            lines.append(f"| {name} | {seed} | {values} | {seconds:.0f} |")
            print(lines[-1], flush=True)
    print("\n".join(lines))


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "runs/mode-collapse"), int(sys.argv[2] if len(sys.argv) > 2 else 1))
