"""The kept part goes its own way, whatever is painted beside it."""

from itertools import pairwise

import pytest
import torch

from nexus.process.inpainting import inpainted
from nexus.process.levels import DATA
from nexus.process.noise import gaussian, generators
from nexus.process.schedule import scaled_linear, trailing
from nexus.process.solvers import ddim, dpmpp_2m
from nexus.process.unipc import unipc


@pytest.mark.parametrize("solver", [ddim, dpmpp_2m, unipc])
def test_deterministic_solvers_blend_after_every_step(solver):
    path = scaled_linear().path(trailing(1000, 6))
    kept, noise = torch.randn(2, 3, 4, 4), gaussian((3, 4, 4), generators(0, 2))
    mask = (torch.rand(1, 1, 4, 4) > 0.5).float()
    start = path[0].alpha * kept + path[0].sigma * noise

    def field(x, level):
        return torch.tanh(x.mean(dim=(2, 3), keepdim=True) + x)  # what is painted hears of what is kept

    states = list(solver(inpainted(field, kept, mask), start, path))
    for state, (_, level) in zip(states, pairwise(path), strict=True):
        noised = level.alpha * kept + level.sigma * noise
        torch.testing.assert_close((1 - mask) * state, (1 - mask) * noised, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close((1 - mask) * states[-1], (1 - mask) * kept, atol=1e-5, rtol=1e-4)
    other = list(solver(inpainted(field, kept + 1, mask), start, path))[-1]
    assert (mask * (other - states[-1])).abs().max() > 1e-3


def test_a_start_is_shown_at_its_level_alone():
    seen = []

    def field(x, level):
        seen.append(x)
        return x

    level, mask = scaled_linear().path(trailing(1000, 2))[0], torch.tensor([[1.0, 0.0]])
    x, kept, shown = torch.full((1, 2), 3.0), torch.full((1, 2), 5.0), torch.full((1, 2), 7.0)
    estimate = inpainted(field, kept, mask, (level, shown))
    assert estimate(x, level).tolist() == [[3.0, 5.0]] and seen[-1].tolist() == [[3.0, 7.0]]
    estimate(x, DATA)
    assert seen[-1].tolist() == [[3.0, 3.0]]
