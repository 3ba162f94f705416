"""Consistency functions: the identity where they must be, and what their solver draws."""

import pytest
import torch

from nexus.process.consistency import consistency_field, latent_consistency_field, lcm_steps
from nexus.process.levels import Level, exploding
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
