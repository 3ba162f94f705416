"""What variational autoencoders keep of digits, and what the units of their codes say."""

import torch

from nexus.data.digits import SIZE, digits
from nexus.media.image import Image
from nexus.metrics.posterior import posterior_report
from nexus.models.vae.beta_vae import BetaVAE
from nexus.models.vae.vae import VAE
from pictures.plots import Line, drawn, lines, plot
from pictures.registry import Picture

SIDE = 34


def held_out() -> torch.Tensor:
    return digits("valid", SIZE).image


@torch.no_grad()
def vae(model: VAE, beta: BetaVAE) -> Image:
    """What comes back of held-out digits, and what comes out of nothing."""
    x = held_out()[:20]
    rows = [
        Line("held-out digits", _images(x)),
        Line("back from the VAE", _images(model(x))),
        Line("from the beta-VAE", _images(beta(x))),
        Line("drawn by the VAE", model.generate(20, seed=0)),
        Line("by the beta-VAE", beta.generate(20, seed=0)),
    ]
    return lines(rows, side=SIDE)


@torch.no_grad()
def vae_traversal(model: VAE, beta: BetaVAE) -> Image:
    """Of a three, the six units that say most, each from -2.5 to 2.5 while the others stay; the beta-VAE's right."""
    rows, three, gap = [], held_out()[5:6], torch.ones(1, 1, SIZE, SIZE)
    for place in range(6):
        line, words = [], []
        for one in (model, beta):
            unit, kl = _loudest(one)[place]
            code = one.encode(three).mean.repeat(9, 1)
            code[:, unit] = torch.linspace(-2.5, 2.5, 9)
            line.append(one.decode(code))
            words.append(f"{unit} ({kl:.1f} nats)")
        rows.append(Line(f"unit {words[0]}, {words[1]}", _images(torch.cat([line[0], gap, line[1]]))))
    return lines(rows, side=SIDE, words_width=200)


def units_at_work(model: VAE, beta: BetaVAE) -> Image:
    """The KL of each unit over held-out digits, the largest first."""
    figure, (axis,) = plot(1, width=6.5, height=2.6)
    for i, (name, one) in enumerate({"VAE": model, "beta-VAE, beta 4": beta}.items()):
        report = posterior_report(one, held_out())
        kl = sorted(report.kl, reverse=True)
        places = [unit + 0.4 * i for unit in range(len(kl))]
        axis.bar(places, kl, width=0.4, label=f"{name}: {report}".replace(" units are active", " active"))
    axis.set(xlabel="unit of the code, by its KL", ylabel="nats", ylim=(0, 1.35 * axis.dataLim.ymax))
    axis.legend(fontsize=8)
    return drawn(figure)


def _loudest(model: VAE) -> list[tuple[int, float]]:
    kl = posterior_report(model, held_out()).kl
    return sorted(enumerate(kl), key=lambda pair: -pair[1])


def _images(x: torch.Tensor) -> list[Image]:
    return [Image.from_tensor(picture) for picture in x]


BOTH = ("digits-vae", "digits-beta-vae")
PICTURES = {
    "vae": Picture(draw=vae, models=BOTH),
    "vae-traversal": Picture(draw=vae_traversal, models=BOTH),
    "units-at-work": Picture(draw=units_at_work, models=BOTH),
}
