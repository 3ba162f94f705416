"""Step caching: what is asked, what is said between, and that every solver takes it."""

import math

import pytest
import torch

from nexus.process.levels import DATA, Level, exploding, straight
from nexus.process.named import SOLVERS, named
from nexus.process.noise import gaussian, generators
from nexus.process.step_cache import check_cache, step_cached


def at(half_log_snr):
    return Level(1.0, math.exp(-half_log_snr), half_log_snr)


def walk(solver, field, path, seed=0, n=2):
    rngs = generators(seed, n)
    noise = path[0].sigma * gaussian((3, 4), rngs)
    *_, x = named(solver)(field, noise, path, rngs)
    return x


class Asked:
    """A field that remembers where it was asked."""

    def __init__(self, field):
        self.field, self.levels = field, []

    def __call__(self, x, level):
        self.levels.append(level)
        return self.field(x, level)


def gaussian_data(x, level):
    """The best estimate of data from N(2, 0.5^2)."""
    return 2 + level.alpha * 0.25 / (level.alpha**2 * 0.25 + level.sigma**2) * (x - 2 * level.alpha)


EVEN = [*(at(-3 + 0.25 * i) for i in range(21)), DATA]


def test_no_threshold_is_the_field_itself():
    assert step_cached(gaussian_data, EVEN, 0) is gaussian_data


@pytest.mark.parametrize(
    ("threshold", "asked"),
    [(0.2, range(21)), (0.5, range(0, 21, 2)), (0.6, [*range(0, 19, 3), 20]), (2, [0, 8, 16, 20])],
)
def test_it_asks_where_the_level_has_moved_and_at_both_ends(threshold, asked):
    field = Asked(gaussian_data)
    walk("ddim", step_cached(field, EVEN, threshold), EVEN)
    assert field.levels == [EVEN[i] for i in asked]


def test_pure_noise_is_infinitely_far_and_no_point_of_a_line():
    path = straight([1.0, 0.99, 0.5, 0.49, 0.3, 0.29])
    field = Asked(lambda x, level: torch.full_like(x, level.time))
    cached = step_cached(field, path, 0.3)
    said = [cached(torch.zeros(1, 2), level)[0, 0].item() for level in path[:-1]]
    assert field.levels == [path[i] for i in (0, 1, 2, 4, 5)]
    assert said[3] != pytest.approx(path[2].time)  # on a line through the second and the third
    cached = step_cached(field, path, 2.0)
    cached(torch.zeros(1, 2), path[0])
    cached(torch.zeros(1, 2), path[2])
    torch.testing.assert_close(cached(torch.zeros(1, 2), path[3]), torch.full((1, 2), path[2].time))


@pytest.mark.parametrize("solver", SOLVERS)
def test_estimates_on_a_line_are_not_missed(solver):
    """Every solver then walks as with all of its estimates, and has asked for half of them at most."""
    slope = torch.linspace(-1, 1, 4)
    whole, some = (Asked(lambda x, level: (1 + level.time * slope).expand_as(x)) for _ in range(2))
    expected = walk(solver, whole, EVEN)
    torch.testing.assert_close(walk(solver, step_cached(some, EVEN, 0.5), EVEN), expected, atol=1e-5, rtol=1e-5)
    assert len(some.levels) <= 0.55 * len(whole.levels)


@pytest.mark.parametrize("solver", sorted(set(SOLVERS) - {"lcm"}))  # which throws states away for estimates
def test_a_smooth_field_is_sampled_nearly_as_well(solver):
    whole, some = Asked(gaussian_data), Asked(gaussian_data)
    expected = walk(solver, whole, EVEN)
    error = walk(solver, step_cached(some, EVEN, 0.5), EVEN) - expected
    assert len(some.levels) <= 0.55 * len(whole.levels)
    draws = solver in ("ddpm", "euler-ancestral", "dpmpp-2m-sde")
    assert 0 < error.abs().max() < (0.3 if draws else 0.03)


def test_heun_asks_once_a_level():
    field = Asked(gaussian_data)
    walk("heun", step_cached(field, EVEN, 1e-6), EVEN)
    assert field.levels == [*EVEN[:-1], EVEN[-2]]


def test_a_level_that_is_asked_for_twice_is_one_point():
    answers = iter((1.0, 3.0))
    cached = step_cached(lambda x, level: torch.full_like(x, next(answers)), EVEN, 0.5)
    said = [cached(torch.zeros(1, 2), level)[0, 0].item() for level in (EVEN[0], EVEN[0], EVEN[1])]
    assert said == [1, 3, 3]


@pytest.mark.parametrize("solver", ["heun", "unipc", "dpmpp-2m-sde"])
def test_an_item_of_a_batch_equals_it_alone(solver):
    path = exploding([20, 18, 10, 9, 5, 4.5, 2, 1, 0.9, 0.2, 0.1])

    def field(x, level):
        return torch.tanh(x.roll(1, dims=-1) + 0.3 * x)

    both = walk(solver, step_cached(field, path, 0.4), path, seed=5)
    alone = walk(solver, step_cached(field, path, 0.4), path, seed=6, n=1)
    torch.testing.assert_close(both[1:], alone)


@pytest.mark.parametrize("threshold", [-0.1, 2.1, math.nan, math.inf])
def test_what_is_no_threshold_is_refused(threshold):
    with pytest.raises(ValueError, match="cache must be from 0"):
        step_cached(gaussian_data, EVEN, threshold)


def test_where_no_step_can_be_skipped_it_is_refused():
    with pytest.raises(ValueError, match="of 2 none is: leave cache out"):
        check_cache(0.5, 2, "ddim")
    with pytest.raises(ValueError, match="lcm each says the whole picture"):
        check_cache(0.5, 4, "lcm")
    check_cache(0, 1, "lcm")
    check_cache(0.5, 3, "ddim")
    field = Asked(gaussian_data)  # a part of a path may have none: nothing is skipped
    walk("ddim", step_cached(field, EVEN[-3:], 2), EVEN[-3:])
    assert field.levels == EVEN[-3:-1]
