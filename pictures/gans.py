"""What generators make, and how much of the data they cover."""

import math

import torch

from nexus.data.gaussians import DEVIATION, centres
from nexus.data.stacked_digits import StackedDigits
from nexus.data.storybook.domains import domain
from nexus.media.image import Image
from nexus.metrics.modes import point_modes
from nexus.models.gan.base_gan import BaseGAN
from nexus.models.gan.conditional_gan import ConditionalGAN
from nexus.models.gan.cycle_gan import CycleGAN
from nexus.models.gan.point_gan import PointGAN
from nexus.models.gan.wgan import WGAN
from nexus.process.noise import gaussian, generators
from nexus.recipes.grid_gan import SHOWN
from pictures.plots import Line, drawn, lines, plot
from pictures.registry import Picture

SIDE = 34


def gan(plain: BaseGAN, conditional: ConditionalGAN) -> Image:
    """Twenty codes each, and classes in turn of the one that is told."""
    told = conditional.generate(20, labels=[i % 10 for i in range(20)], seed=0)
    rows = [
        Line("DCGAN", plain.generate(20, seed=0)),
        Line("", plain.generate(20, seed=100)),
        Line("told the class", told),
        Line("", conditional.generate(20, labels=[i % 10 for i in range(20)], seed=100)),
    ]
    return lines(rows, side=SIDE)


@torch.no_grad()
def gan_walk(model: BaseGAN) -> Image:
    """From one code to the next along the sphere that codes lie near."""
    codes = gaussian((model.config.latent_dim,), generators(0, 5))
    rows = []
    for i in range(4):
        steps = torch.linspace(0, 1, 20)[:, None] * math.pi / 2
        between = steps.cos() * codes[i] + steps.sin() * codes[i + 1]
        rows.append(Line(f"code {i} to {i + 1}", [Image.from_tensor(x) for x in model(between)]))
    return lines(rows, side=SIDE, words_width=90)


def gan_modes(plain: PointGAN, r1: PointGAN) -> Image:
    """Points of two generators over the 25 Gaussians that they were taught."""
    figure, axes = plot(2, width=7.6, height=4)
    for axis, name, model in zip(axes, ("non-saturating", "R1"), (plain, r1), strict=True):
        points = model.generate(SHOWN, seed=0)
        modes = point_modes(points, centres(), DEVIATION)
        axis.plot(*points.T, ".", markersize=1.5, alpha=0.5)
        axis.plot(*centres().T, "o", markersize=9, fillstyle="none", color="black", markeredgewidth=0.6)
        axis.set(title=f"{name}: {modes.covered} of 25, {100 * modes.good:.0f} % of points in one", aspect="equal")
        axis.title.set_fontsize(9)
        axis.set(xlim=(-2.8, 2.8), ylim=(-2.8, 2.8))
    return drawn(figure)


def stacked_gan(plain: BaseGAN, r1: BaseGAN, penalised: BaseGAN) -> Image:
    """Held-out digits, three in a picture, and what three games make of such."""
    real = StackedDigits("valid", 20, seed=0)[0]["image"]
    rows = [Line("three digits in one", [Image.from_tensor(picture) for picture in real])]
    for name, model in (("non-saturating", plain), ("R1", r1), ("WGAN-GP", penalised)):
        rows += [Line(name, model.generate(20, seed=0)), Line("", model.generate(20, seed=100))]
    return lines(rows, side=SIDE)


def wgan(model: WGAN) -> Image:
    return lines([Line("", model.generate(20, seed=start)) for start in (0, 100)], side=SIDE, words_width=10)


def distances() -> Image:
    """What a perfect judge can say of two Gaussians of deviation 0.3 that are apart."""
    x = torch.linspace(-8, 16, 20001).double()
    apart = torch.linspace(0, 4, 81).double()
    real = _bump(x)
    divergence = []
    for shift in apart:
        fake = _bump(x - shift)
        middle = (real + fake) / 2
        terms = [0.5 * torch.xlogy(p, p / middle.clamp(min=1e-300)) for p in (real, fake)]
        divergence.append(float(torch.trapezoid(torch.stack(terms).sum(0), x)))
    figure, (axis,) = plot(1, width=6, height=2.8)
    axis.plot(apart, divergence, label="Jensen-Shannon divergence: what a discriminator sees")
    axis.plot(apart, apart, label="Wasserstein distance: what a critic sees")
    axis.axhline(math.log(2), color="grey", linewidth=0.8, linestyle="--")
    axis.set(xlabel="how far apart the two are", ylabel="distance", ylim=(0, 2.2))
    axis.legend(fontsize=8)
    return drawn(figure)


def _bump(x: torch.Tensor, deviation: float = 0.3) -> torch.Tensor:
    return torch.exp(-(x**2) / (2 * deviation**2)) / (deviation * (2 * math.pi) ** 0.5)


@torch.no_grad()
def cycle_gan(model: CycleGAN) -> Image:
    """Held-out stills, there and back."""
    rows = []
    for time, way, back in (("day", "to_b", "to_a"), ("night", "to_a", "to_b")):
        x = domain(time, 200, "valid", 32)[:10]
        there = model(x, way)
        words = (time, "made " + {"day": "night", "night": "day"}[time], "and back")
        rows += [
            Line(word, [Image.from_tensor(picture) for picture in part])
            for word, part in zip(words, (x, there, model(there, back)), strict=True)
        ]
    return lines(rows, side=64, words_width=90)


PICTURES = {
    "gan": Picture(draw=gan, models=("digits-gan", "digits-conditional-gan")),
    "gan-walk": Picture(draw=gan_walk, models=("digits-gan",)),
    "gan-modes": Picture(draw=gan_modes, models=("grid-gan-plain", "grid-gan")),
    "stacked-gan": Picture(draw=stacked_gan, models=("stacked-gan-plain", "stacked-gan-r1", "stacked-gan-wgan-gp")),
    "wgan": Picture(draw=wgan, models=("digits-wgan",)),
    "distances": Picture(draw=distances),
    "cycle-gan": Picture(draw=cycle_gan, models=("storybook-cycle-gan",)),
}
