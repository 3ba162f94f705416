"""Penalties where they are known: linear and quadratic critics."""

import pytest
import torch
from torch import nn

from nexus.process.input_gradient import gradient_penalty, input_gradient, r1


def test_the_penalty_of_a_linear_critic(rng):
    real, fake = torch.randn(2, 5, 3, 4, generator=rng)
    weight = torch.randn(3, 4, generator=rng)
    found = gradient_penalty(lambda x: (x * weight).sum((1, 2)), real, fake, rng)
    assert found.item() == pytest.approx((weight.norm().item() - 1) ** 2, rel=1e-6)
    assert gradient_penalty(lambda x: (x * weight / weight.norm()).sum((1, 2)), real, fake, rng) < 1e-12


def test_the_penalty_is_taken_between_real_and_fake(rng):
    seen = []

    def critic(x):
        seen.append(x.detach())
        return x.sum(1)

    real, fake = torch.zeros(2000, 1), torch.ones(2000, 1) * 3
    gradient_penalty(critic, real, fake, rng)
    places = seen[0][:, 0]  # evenly over [0, 3]
    assert places.min() >= 0 and places.max() <= 3
    assert places.mean().item() == pytest.approx(1.5, abs=0.06) and places.var().item() == pytest.approx(0.75, abs=0.05)


def test_r1_of_a_quadratic_critic(rng):
    real = torch.randn(7, 4, generator=rng)
    matrix = torch.randn(4, 4, generator=rng)
    matrix = matrix + matrix.mT
    found = r1(lambda x: ((x @ matrix) * x).sum(1) / 2, real)  # gradient: matrix x
    assert found.item() == pytest.approx((real @ matrix).square().sum(1).mean().item(), rel=1e-6)


@pytest.mark.parametrize("penalty", ["r1", "gradient_penalty"])
def test_penalties_teach_the_critic(penalty, rng):
    """Their gradient with respect to the weights: d/dw (|w| - 1)^2 = 2 (|w| - 1) w / |w|, d/dw |w|^2 = 2 w."""
    critic = nn.Linear(3, 1)
    real, fake = torch.randn(2, 6, 3, generator=rng)

    def of(x):
        return critic(x)[:, 0]

    (r1(of, real) if penalty == "r1" else gradient_penalty(of, real, fake, rng)).backward()
    w = critic.weight.detach()
    wanted = 2 * w if penalty == "r1" else 2 * (w.norm() - 1) * w / w.norm()
    torch.testing.assert_close(critic.weight.grad, wanted, rtol=1e-5, atol=1e-6)


def test_gradients_are_there_where_they_are_turned_off():
    with torch.no_grad():
        gradient = input_gradient(lambda x: x.square().sum(1), torch.ones(2, 3))
    torch.testing.assert_close(gradient.detach(), torch.full((2, 3), 2.0))
