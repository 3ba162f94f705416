"""What the recipes of the digits learnt, by diffusion and flows."""

import torch

from nexus.media.image import Image
from nexus.models.diffusion.base_diffusion import BaseDiffusion
from nexus.models.diffusion.conditional_diffusion import ConditionalDiffusion
from nexus.models.diffusion.consistency_model import ConsistencyModel
from nexus.models.diffusion.flow_matching import FlowMatching
from nexus.models.diffusion.lcm import LCM
from nexus.models.diffusion.rectified_flow import RectifiedFlow
from nexus.process.diffusion import clipped, data_field
from nexus.process.noise import gaussian, generators
from nexus.process.solvers import ddim
from pictures.plots import Line, lines
from pictures.registry import Picture

SIDE = 34  # pixels of each that is shown, where the model makes 8


@torch.no_grad()
def ddpm_steps(model: BaseDiffusion) -> Image:
    """Three pictures on their way from noise, and what the network takes them for meanwhile."""
    path = model.path(50, "ddim")
    estimate = clipped(data_field(lambda x, step: model.network(x, step, None), model.config.prediction))
    noise = gaussian((1, *model.config.size), generators(0, 3))
    states = [noise, *ddim(estimate, noise, path)]
    at = [0, 10, 20, 25, 30, 35, 40, 43, 46, 48]
    seen = [estimate(states[i], path[i]) for i in at]
    rows = []
    for one in range(3):
        rows.append(Line("x_t", [Image.from_tensor(states[i][one]) for i in at]))
        rows.append(Line("its data, estimated", [Image.from_tensor(x[one]) for x in seen]))
    return lines(rows, side=SIDE, heads=[str(int(path[i].time)) for i in at])


def ddpm_solvers(model: BaseDiffusion) -> Image:
    """The same noise in fewer and fewer steps."""
    ways = [("ddpm", 200), ("ddim", 50), ("dpmpp_2m", 20), ("ddim", 20), ("dpmpp_2m", 8), ("ddim", 8), ("ddim", 4)]
    rows = [Line(f"{way}, {steps} steps", model.generate(16, steps=steps, solver=way, seed=0)) for way, steps in ways]
    return lines(rows, side=SIDE)


def guidance(model: ConditionalDiffusion) -> Image:
    """A row for each scale, the ten classes in turn from the same noise."""
    ways = {
        "scale 0: class ignored": {"guidance_scale": 0.0},
        "1: no guidance": {"guidance_scale": 1.0},
        "2": {"guidance_scale": 2.0},
        "4": {"guidance_scale": 4.0},
        "8": {"guidance_scale": 8.0},
        "by a classifier, 2": {"guidance_scale": 0.0, "classifier_scale": 2.0},
        "by a classifier, 6": {"guidance_scale": 0.0, "classifier_scale": 6.0},
    }
    rows = [Line(words, _of(model, 20, **settings)) for words, settings in ways.items()]
    return lines(rows, side=SIDE, heads=[str(i % 10) for i in range(20)])


def reflow(flow: FlowMatching, rectified: RectifiedFlow) -> Image:
    """Few steps before and after."""
    rows = [
        Line("Euler, 1 step", _of(flow, 20, steps=1, solver="euler")),
        Line("2 steps", _of(flow, 20, steps=2, solver="euler")),
        Line("5 steps", _of(flow, 20, steps=5, solver="euler")),
        Line("Heun, 20 steps", _of(flow, 20, steps=20, solver="heun")),
        Line("after reflow, 1 step", _of(rectified, 20, steps=1, solver="euler")),
        Line("2 steps", _of(rectified, 20, steps=2, solver="euler")),
    ]
    return lines(rows, side=SIDE)


@torch.no_grad()
def consistency(teacher: ConditionalDiffusion, distilled: ConsistencyModel, alone: ConsistencyModel) -> Image:
    """One and two steps beside two and fifty of a diffusion model."""
    rows = [
        Line("DDIM, 2 steps", _of(teacher, 20, steps=2)),
        Line("distilled, 1 step", _of(distilled, 20, steps=1)),
        Line("distilled, 2 steps", _of(distilled, 20, steps=2)),
        Line("without teacher, 1", _of(alone, 20, steps=1)),
        Line("without teacher, 2", _of(alone, 20, steps=2)),
        Line("DDIM, 50 steps", _of(teacher, 20, steps=50)),
    ]
    return lines(rows, side=SIDE)


def lcm(teacher: ConditionalDiffusion, student: LCM) -> Image:
    """Steps, and the guidance scale that the student is told."""
    rows = [Line("DDIM, 2 steps: 4 passes", _of(teacher, 20, steps=2, guidance_scale=2.0))]
    rows += [Line(f"LCM, {n} step{'s' * (n > 1)}", _of(student, 20, steps=n, guidance_scale=2.0)) for n in (1, 2, 4)]
    rows += [Line("4 steps, told scale 1", _of(student, 20, steps=4, guidance_scale=1.0))]
    rows += [Line("4 steps, told scale 4", _of(student, 20, steps=4, guidance_scale=4.0))]
    rows += [Line("DDIM, 50 steps: 100", _of(teacher, 20, steps=50, guidance_scale=2.0))]
    return lines(rows, side=SIDE)


def _of(model, n: int, **settings) -> list[Image]:
    return model.generate([i % 10 for i in range(n)], seed=0, **settings)


PICTURES = {
    "ddpm-steps": Picture(draw=ddpm_steps, models=("digits-ddpm",)),
    "ddpm-solvers": Picture(draw=ddpm_solvers, models=("digits-ddpm",)),
    "guidance": Picture(draw=guidance, models=("digits-classes",)),
    "reflow": Picture(draw=reflow, models=("digits-flow", "digits-rectified")),
    "consistency": Picture(
        draw=consistency, models=("digits-classes", "digits-consistency", "digits-consistency-alone")
    ),
    "lcm": Picture(draw=lcm, models=("digits-classes", "digits-lcm")),
}
