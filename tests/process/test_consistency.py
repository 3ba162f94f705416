"""Consistency functions: the identity where they must be, and what their solver draws."""

import pytest
import torch

from nexus.process.consistency import (
    consistency_field,
    consistency_function,
    latent_consistency_field,
    lcm_steps,
    neighbours,
    pseudo_huber,
)
from nexus.process.levels import Level, exploding, karras
from nexus.process.noise import gaussian, generators
from nexus.process.solvers import consistency


def test_the_identity_at_the_least_noise():
    x = torch.randn(2, 3)

    def other(x, t):
        return torch.full_like(x, 7.0)

    torch.testing.assert_close(consistency_field(other)(x, Level(1.0, 0.002, 0.002)), x)
    assert (consistency_field(other)(x, Level(1.0, 1.0, 1.0)) - x).abs().min() > 0.1
    latent = latent_consistency_field(lambda x, level: torch.full_like(x, 7.0))
    torch.testing.assert_close(latent(x, Level(1.0, 0.0, 0)), x)
    torch.testing.assert_close(latent(x, Level(0.1, 0.99, 999)), torch.full_like(x, 7.0), atol=1e-2, rtol=0)


def test_each_step_estimates_then_adds_the_noise_of_the_next_level():
    path, seen = exploding([80.0, 2.0]), []

    def field(x, level):
        seen.append((level.sigma, x.std().item()))
        return torch.zeros_like(x)

    rngs = generators(0, 1)
    states = list(consistency(field, 80 * gaussian((50_000,), rngs), path, rngs=rngs, least=1.2))
    assert [sigma for sigma, _ in seen] == [80.0, 2.0]
    assert seen[1][1] == pytest.approx((2.0**2 - 1.2**2) ** 0.5, rel=0.02)
    assert states[-1].abs().max() == 0


def test_lcm_steps_are_among_those_of_the_distillation():
    steps = lcm_steps(1000, 4)
    assert steps.tolist() == [999, 759, 499, 259, -1]
    with pytest.raises(ValueError, match="1 to 50"):
        lcm_steps(1000, 51)


def test_the_function_is_the_identity_at_the_least_noise():
    """Whatever the network says; and at high noise the network says nearly all."""
    x = torch.randn(3, 2, 4, 4)
    ends = consistency_function(lambda x, t: 100 * torch.ones_like(x), x, torch.full((3,), 0.002))
    torch.testing.assert_close(ends, x)
    far = consistency_function(lambda x, t: torch.ones_like(x), x, torch.full((3,), 80.0))
    torch.testing.assert_close(far, torch.full_like(x, 0.5), atol=1e-2, rtol=0)


def test_items_may_stand_at_different_levels():
    def network(x, time):
        return x.tanh() + time.reshape(-1, 1) / 100

    x, sigma = torch.randn(3, 5), torch.tensor([0.002, 0.7, 33.0])
    together = consistency_function(network, x, sigma)
    field = consistency_field(network)
    for i in range(3):
        level = Level(1.0, float(sigma[i]))
        torch.testing.assert_close(together[i : i + 1], field(x[i : i + 1], level), atol=1e-5, rtol=1e-5)


def test_pseudo_huber_is_square_near_zero_and_straight_beyond():
    zero = torch.zeros(1, 4)
    near, far = torch.full((1, 4), 1e-3), torch.full((1, 4), 100.0)
    assert pseudo_huber(near, zero, 1.0).item() == pytest.approx(4e-6 / 2, rel=5e-2)
    assert pseudo_huber(far, zero, 1.0).item() == pytest.approx(200 - 1, rel=1e-3)
    assert pseudo_huber(near, zero).item() == pytest.approx((4e-6 + (0.00054 * 2) ** 2) ** 0.5 - 0.00108)


def test_neighbours_are_drawn_where_noise_levels_are_about_normal():
    drawn = neighbours(80, 4000, torch.Generator().manual_seed(0))
    assert drawn.min() >= 0 and drawn.max() <= 78
    levels = torch.tensor(karras(80.0, 0.002, 80)).log()
    assert levels[drawn].mean().item() == pytest.approx(-1.1, abs=0.25)
    assert levels[drawn].std().item() == pytest.approx(2.0, abs=0.25)
