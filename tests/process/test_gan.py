"""What the sides of each game minimise, and the answers that are known."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from nexus.process.gan import (
    ClippedWasserstein,
    NonSaturating,
    PenalisedWasserstein,
    Wasserstein,
    discriminator_non_saturating,
    generator_non_saturating,
)


def test_non_saturating_is_cross_entropy(rng):
    real, fake = 3 * torch.randn(2, 50, generator=rng)
    ones, zeros = torch.ones(50), torch.zeros(50)
    entropy = F.binary_cross_entropy_with_logits
    torch.testing.assert_close(discriminator_non_saturating(real, fake), entropy(real, ones) + entropy(fake, zeros))
    torch.testing.assert_close(generator_non_saturating(fake), entropy(fake, ones))


def test_a_discriminator_that_tells_nothing_apart_loses_2_log_2():
    nothing = torch.zeros(4)
    assert discriminator_non_saturating(nothing, nothing).item() == pytest.approx(2 * math.log(2))


def test_the_best_discriminator_is_the_ratio_of_densities():
    """Between N(1, 1) and N(-1, 1) it has the logit 2 x (Goodfellow et al., proposition 1)."""
    x = torch.linspace(-8, 8, 4001, dtype=torch.float64)
    real, fake = (torch.distributions.Normal(m, 1.0).log_prob(x).exp() for m in (1.0, -1.0))
    logit = (2 * x).requires_grad_()
    loss = (real * F.softplus(-logit) + fake * F.softplus(logit)).sum()  # discriminator_non_saturating in expectation
    (gradient,) = torch.autograd.grad(loss, logit)
    assert gradient.abs().max() < 1e-12


def test_sure_discriminators_still_teach():
    """Where D is sure of a fake, -log D keeps its slope; log(1 - D) would have lost it."""
    logit = torch.tensor([-20.0], requires_grad=True)
    generator_non_saturating(logit).backward()
    assert logit.grad.item() == pytest.approx(-1, abs=1e-6)


def test_r1_is_charged_half(rng):
    critic = nn.Linear(3, 1)
    real, fake = torch.randn(2, 6, 3, generator=rng)

    def of(x):
        return critic(x)[:, 0]

    plain = NonSaturating().judge(of, real, fake, rng)["loss"]
    charged = NonSaturating(r1_weight=10.0).judge(of, real, fake, rng)
    assert (charged["loss"] - plain).item() == pytest.approx(5 * critic.weight.square().sum().item(), rel=1e-5)
    assert charged["adversarial"] == plain


def test_wasserstein_measures_a_shift(rng):
    """A critic of slope 1 measures by how much points were moved; the generator's gradient is the critic's slope."""
    real, fake = torch.zeros(4, 2), torch.full((4, 2), 3.0).requires_grad_()

    def critic(x):
        return -x[:, 0]

    losses = Wasserstein().judge(critic, real, fake, rng)
    assert losses["distance"] == 3 and losses["loss"] == -3
    Wasserstein().deceive(critic, fake).backward()
    torch.testing.assert_close(fake.grad, torch.tensor([0.25, 0.0]).expand(4, 2))
    assert PenalisedWasserstein().judge(critic, real, fake, rng)["penalty"] == 0
    doubled = PenalisedWasserstein(penalty_weight=7.0).judge(lambda x: 2 * critic(x), real, fake, rng)
    assert doubled["penalty"].item() == pytest.approx(1) and doubled["loss"].item() == pytest.approx(-6 + 7)


def test_clipping_confines_every_weight():
    critic = nn.Sequential(nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 1))
    inside = critic[0].weight.detach().clamp(-0.1, 0.1)
    ClippedWasserstein(clip=0.1).confine(critic)
    assert all(p.abs().max() <= 0.1 for p in critic.parameters())
    assert torch.equal(critic[0].weight, inside)
    before = [p.clone() for p in critic.parameters()]
    NonSaturating().confine(critic)
    assert all(torch.equal(a, b) for a, b in zip(before, critic.parameters(), strict=True))
