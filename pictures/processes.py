"""Pictures of the mathematics of noise, where all is known: no network, no weights."""

import numpy as np
import torch
from matplotlib.axes import Axes
from torch import Tensor

from nexus.media.image import Image
from nexus.models.diffusion.flux_transformer import FluxTransformerConfig, turns
from nexus.process import schedule, solvers
from nexus.process.flow import euler, last, uniform_times
from nexus.process.flow_levels import FlowLevels
from nexus.process.levels import Path, exploding, exponential, karras, shifted
from nexus.process.noise import generators
from nexus.process.unipc import unipc
from nexus.process.weighting import min_snr, p2, snr
from pictures.mixture import Mixture
from pictures.plots import drawn, plot
from pictures.registry import Picture

SCHEDULES = {
    "linear (DDPM)": schedule.linear(),
    "scaled linear (Stable Diffusion)": schedule.scaled_linear(),
    "the same, zero terminal SNR": schedule.zero_terminal_snr(schedule.scaled_linear()),
    "cosine": schedule.cosine(),
    "sigmoid": schedule.sigmoid(),
    "Laplace": schedule.laplace(),
}


def schedules() -> Image:
    figure, (left, right) = plot(2)
    for name, one in SCHEDULES.items():
        left.plot(one.signal, label=name, linewidth=1.3)
        right.plot(-2 * one.ratios.log().clamp(max=12), linewidth=1.3, label=name)
    left.set(xlabel="step", ylabel="signal left, alpha²", title="what is left of the picture")
    right.set(xlabel="step", ylabel="log signal-to-noise ratio", title="the same as a ratio", ylim=(-20, 12))
    right.legend(fontsize=7, loc="lower left")
    return drawn(figure)


def solver_errors() -> Image:
    """Distance from the end that an exact solution comes to, by how often the field was asked."""
    field, noise = Mixture(), 20 * torch.randn(256, 1, generator=torch.Generator().manual_seed(0)).double()

    def walked(solve, steps: int) -> Tensor:
        return last(solve(field, noise, _levels(steps)))

    exact = walked(solvers.heun, 1000)
    figure, (axis,) = plot(1, width=6)
    kinds = {"Euler (DDIM)": solvers.ddim, "Heun": solvers.heun, "DPM-Solver++(2M)": solvers.dpmpp_2m, "UniPC": unipc}
    for name, solve in kinds.items():
        steps = [4, 8, 16, 32, 64, 128]
        asked = [2 * n if name == "Heun" else n for n in steps]
        errors = [float((walked(solve, n) - exact).square().mean().sqrt()) for n in steps]
        slope = np.polyfit(np.log(asked[-3:]), np.log(errors[-3:]), 1)[0]
        axis.loglog(asked, errors, marker="o", markersize=3.5, label=f"{name}: order {-slope:.1f}")
    axis.set(xlabel="times that the field is asked", ylabel="error of the end (root mean square)")
    axis.legend(fontsize=8)
    return drawn(figure)


def _levels(steps: int) -> Path:
    return exploding(karras(20.0, 0.05, steps + 1))[:-1]


def loss_weights() -> Image:
    """By how much the error of the data counts in each loss."""
    cosine = schedule.cosine()
    step = torch.arange(cosine.n_steps)
    ratio = snr(cosine, step)
    edm = 1 / 0.5**2 + ratio  # (sigma^2 + sigma_data^2) / (sigma sigma_data)^2 with alpha 1
    weights = {
        "noise (the simple loss)": ratio,
        "data": torch.ones_like(ratio),
        "velocity": ratio + 1,
        "min-SNR, gamma 5": min_snr(cosine, step, "data"),
        "P2": p2(cosine, step, "data"),
        "EDM": edm,
    }
    figure, (axis,) = plot(1, width=6)
    for name, weight in weights.items():
        axis.semilogy(ratio.log(), weight, label=name, linewidth=1.4, linestyle="--" if name == "EDM" else "-")
    axis.set(xlabel="log signal-to-noise ratio (right: almost clean)", ylabel="weight of the data's error")
    axis.set(xlim=(-8, 8), ylim=(1e-4, 1e4))
    axis.legend(fontsize=8)
    return drawn(figure)


def denoising_paths() -> Image:
    """DDPM's draws and DDIM's do not, over the densities that both keep."""
    data, cosine = Mixture(), schedule.cosine()
    path = cosine.path(schedule.leading(1000, 200))
    noise = torch.linspace(-2, 2, 9).double()[:, None]
    figure, axes = plot(2, sharey=True)
    walks = {
        "DDPM: noise is drawn at every step": solvers.ddpm(data, noise, path, rngs=generators(0, len(noise))),
        "DDIM: the same field, nothing is drawn": solvers.ddim(data, noise, path),
    }
    for axis, (name, walk) in zip(axes, walks.items(), strict=True):
        _ground(axis, data, path)
        states = torch.stack([noise, *walk])[..., 0]
        axis.plot(states, linewidth=0.9)
        axis.set(title=name, xlabel="step of 200, from noise to data")
    axes[0].set_ylabel("x")
    return drawn(figure)


def _ground(axis: Axes, data: Mixture, path: Path) -> None:
    """The density at each level, dark where there is more."""
    x = torch.linspace(-3, 3, 160).double()
    columns = torch.stack([data.density(x, level) for level in path], dim=1)
    columns = columns / columns.amax(0)
    axis.imshow(columns, origin="lower", aspect="auto", extent=(0, len(path) - 1, -3, 3), cmap="Greys", alpha=0.6)
    axis.grid(False)


def straight_paths() -> Image:
    """Random pairs cross, the flow that is learnt of them bends, and its own pairs hardly cross."""
    data, rng = Mixture(), torch.Generator().manual_seed(3)
    noise = torch.randn(24, 1, generator=rng)
    ends = data.drawn(24, rng)
    times = uniform_times(100)
    states = torch.stack([noise, *euler(data.velocity, noise, times)])[..., 0]
    figure, (pairs, flow, again) = plot(3, width=9, sharey=True)
    pairs.plot([0, 1], torch.cat([noise, ends], 1).T, linewidth=0.9)
    pairs.set(title="pairs drawn at random", ylabel="x")
    flow.plot(times, states, linewidth=0.9)
    flow.set(title="the flow learnt from them")
    again.plot([0, 1], states[[0, -1]], linewidth=0.9)
    again.set(title="its ends, paired anew: reflow")
    for axis in (pairs, flow, again):
        axis.set_xlabel("t, from noise to data")
    return drawn(figure)


def consistency_function() -> Image:
    """Every point of a path has the path's end; neighbours along it are taught to agree."""
    data, levels = Mixture(), karras(3.0, 0.02, 60)
    path = exploding(levels)
    x = torch.linspace(-4, 4, 200).double()[:, None]
    ends = torch.cat([last(solvers.heun(data, x, path[i:])) for i in range(len(levels))], 1)
    figure, (axis,) = plot(1, width=6.5)
    picture = axis.pcolormesh(range(len(levels)), x[:, 0], ends, cmap="coolwarm", shading="nearest")
    start = torch.linspace(-3.5, 3.5, 13).double()[:, None]
    walks = torch.stack([start, *solvers.heun(data, start, path[:-1])])[..., 0]
    axis.plot(range(len(levels)), walks, color="black", linewidth=0.8)
    axis.set_xticks([0, 20, 40, 59], [f"{levels[i]:.2g}" for i in (0, 20, 40, 59)])
    axis.set(xlabel="noise level, falling", ylabel="x")
    axis.grid(False)
    figure.colorbar(picture, ax=axis, label="where the path through x ends")
    return drawn(figure)


def flow_levels() -> Image:
    """Levels of 28 steps by shift, and where training times lie."""
    figure, (left, right) = plot(2)
    flux = FlowLevels(shift=1.0, growth=(0.5, 1.15))
    rows = {
        "not shifted": FlowLevels(shift=1.0).path(28, 256),
        "Stable Diffusion 3, shift 3": FlowLevels().path(28, 4096),
        "FLUX.1 [dev], 256 x 256": flux.path(28, 256),
        "FLUX.1 [dev], 1024 x 1024": flux.path(28, 4096),
    }
    for name, path in rows.items():
        left.plot([level.sigma for level in path], marker=".", markersize=4, linewidth=0.8, label=name)
    left.set(xlabel="step of 28", ylabel="sigma", title="levels that are walked")
    left.legend(fontsize=7)
    logit = torch.linspace(-6, 6, 2000).double()
    sigma, density = torch.sigmoid(logit), torch.exp(-(logit**2) / 2) / (2 * torch.pi) ** 0.5
    for shift in (1.0, 3.0):
        moved = torch.tensor(shifted(sigma.tolist(), shift), dtype=torch.float64)
        right.plot(moved, density * logit.diff()[0] / torch.gradient(moved)[0], label=f"logit-normal, shift {shift:g}")
    right.axhline(1, color="grey", linewidth=0.8, label="uniform")
    right.set(xlabel="sigma", ylabel="density", title="times that training draws")
    right.legend(fontsize=7)
    return drawn(figure)


def spacings() -> Image:
    """Ten steps of Stable Diffusion's thousand, spaced in five ways."""
    base = schedule.scaled_linear()
    ratios = base.ratios
    ways: dict[str, Path] = {
        "leading": base.path(schedule.leading(1000, 10, offset=1)),
        "trailing": base.path(schedule.trailing(1000, 10)),
        "linspace": base.path(schedule.linspace(1000, 10)),
        "Karras": base.path_of(karras(float(ratios[-1]), float(ratios[0]), 10)),
        "exponential": base.path_of(exponential(float(ratios[-1]), float(ratios[0]), 10)),
    }
    figure, (axis,) = plot(1, width=7, height=2.4)
    for row, path in enumerate(ways.values()):
        axis.plot([level.ratio for level in path[:-1]], [row] * 10, "o", markersize=5)
    axis.set_xscale("log")
    axis.set_yticks(range(len(ways)), list(ways))
    axis.invert_yaxis()
    axis.invert_xaxis()
    axis.set(xlabel="noise level, sigma / alpha (left: noise)")
    return drawn(figure)


def alike_by_turns() -> Image:
    """Mean product of one patch's query with the keys of a grid, where both are the same before FLUX' turns."""
    side = 32
    cos, sin = turns(FluxTransformerConfig().rope_dims, side, side, torch.device("cpu"))
    figure, axes = plot(2, width=7.5, height=3.4)
    for axis, (row, column) in zip(axes, ((0, 0), (16, 16)), strict=True):
        own = row * side + column
        alike = (cos @ cos[own] + sin @ sin[own]).reshape(side, side) / cos.shape[1]
        axis.imshow(alike, cmap="viridis", vmin=0, vmax=1)
        axis.plot(column, row, "x", color="red")
        axis.grid(False)
        axis.set(title=f"of the patch in row {row}, column {column}")
    figure.colorbar(axes[0].images[0], ax=axes)
    return drawn(figure)


PICTURES = {
    "schedules": Picture(draw=schedules),
    "solver-errors": Picture(draw=solver_errors),
    "loss-weights": Picture(draw=loss_weights),
    "denoising-paths": Picture(draw=denoising_paths),
    "straight-paths": Picture(draw=straight_paths),
    "consistency-function": Picture(draw=consistency_function),
    "flow-levels": Picture(draw=flow_levels),
    "spacings": Picture(draw=spacings),
    "turns": Picture(draw=alike_by_turns),
}
