"""The steps that schedulers of official pipelines visit, by hand; their states are compared in the pipelines' tests."""

from itertools import pairwise

import pytest

from nexus.process.levels import DATA
from nexus.process.step_levels import StepLevels


def times(path):
    return [level.time for level in path[:-1]]


@pytest.mark.parametrize(
    ("settings", "solver", "expected"),
    [
        ({}, "ddim", [751, 501, 251, 1]),
        ({"offset": 0}, "ddim", [750, 500, 250, 0]),
        ({}, "euler", [999, 666, 333, 0]),
        ({"spacing": "leading"}, "euler", [751, 501, 251, 1]),
        ({"spacing": "trailing"}, "euler", [999, 749, 499, 249]),
        ({"spacing": "leading"}, "dpmpp-2m", [801, 601, 401, 201]),
        ({}, "unipc", [999, 749, 500, 250]),
        ({}, "lcm", [999, 759, 499, 259]),
    ],
)
def test_steps(settings, solver, expected):
    assert times(StepLevels(**settings).path(4, solver)) == expected


def test_ends():
    levels = StepLevels()
    assert levels.path(4, "ddim")[-1].sigma == pytest.approx(0.00085**0.5) and levels.path(4, "euler")[-1] == DATA
    assert StepLevels(ends_at_first_step=False).path(4, "ddim")[-1] == DATA
    assert StepLevels(zero_snr=True, spacing="trailing").path(4, "ddim")[0].alpha == 0


def test_a_strength_leaves_the_last_steps():
    levels = StepLevels()
    assert times(levels.path(10, "ddim", 0.35)) == times(levels.path(10, "ddim"))[-3:]
    assert times(levels.path(4, "lcm", 0.5))[0] == 499


def test_karras_levels_are_whole_steps_for_multistep_solvers():
    levels = StepLevels(karras=True)
    assert all(isinstance(time, int) for time in times(levels.path(5, "dpmpp-2m")))
    ours = [level.ratio for level in levels.path(5, "euler")[:-1]]
    roots = [ratio ** (1 / 7) for ratio in ours]
    assert all(a - b == pytest.approx(roots[0] - roots[1]) for a, b in pairwise(roots))


def test_noise_scale():
    levels = StepLevels()
    path = levels.path(4, "euler")
    assert levels.noise_scale(path, "euler") == path[0].sigma < 1
    assert levels.noise_scale(path, "unipc") == 1
    assert StepLevels(spacing="leading").noise_scale(path, "euler") == 1


def test_what_cannot_be_is_refused():
    for n_steps in (0, 1000):
        with pytest.raises(ValueError, match=f"n_steps must be from 1 to 999, got {n_steps}"):
            StepLevels().path(n_steps, "ddim")
    with pytest.raises(ValueError, match=r"at least 0\.25"):
        StepLevels().path(4, "ddim", 0.1)
