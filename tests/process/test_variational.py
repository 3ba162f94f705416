"""KL against Monte Carlo and torch, free bits, warm-up, bounds of a linear Gaussian model, active units."""

import math

import pytest
import torch
from torch.distributions import MultivariateNormal, Normal, kl_divergence

from nexus.process.variational import (
    Posterior,
    active_units,
    free_bits,
    gaussian_log_prob,
    importance_weighted_bound,
    warm_up,
)


@pytest.fixture
def posterior(rng):
    mean, log_variance = torch.randn(2, 3, 4, generator=rng, dtype=torch.float64)
    return Posterior(mean, log_variance)


def test_kl_in_closed_form(posterior, rng):
    deviation = (posterior.log_variance / 2).exp()
    torch.testing.assert_close(posterior.kl(), kl_divergence(Normal(posterior.mean, deviation), Normal(0.0, 1.0)))
    many = posterior.repeated(50_000)
    z = many.sample(rng)
    estimate = (many.log_prob(z) - gaussian_log_prob(z, 0.0, 0.0).sum(-1)).mean(0)
    torch.testing.assert_close(estimate, posterior.kl().sum(-1), atol=0.06, rtol=0)
    assert Posterior(torch.zeros(1, 2), torch.zeros(1, 2)).kl().abs().max() == 0


def test_samples_have_the_posteriors_moments_and_pass_gradients(posterior, rng):
    z = posterior.repeated(30_000).sample(rng)
    torch.testing.assert_close(z.mean(0), posterior.mean, atol=0.06, rtol=0)
    torch.testing.assert_close(z.var(0), posterior.log_variance.exp(), atol=0, rtol=0.05)
    mean, log_variance = torch.zeros(1, 1, requires_grad=True), torch.zeros(1, 1, requires_grad=True)
    sample = Posterior(mean, log_variance).sample(rng)
    sample.sum().backward()
    assert mean.grad == 1 and log_variance.grad.item() == pytest.approx(sample.item() / 2)


def test_log_prob(rng):
    x = torch.randn(5, generator=rng)
    torch.testing.assert_close(gaussian_log_prob(x, 0.3, math.log(4)), Normal(0.3, 2.0).log_prob(x))


def test_free_bits_charge_nothing_below():
    kl = torch.tensor([[0.0, 1.0, 0.1], [0.2, 3.0, 0.7]], requires_grad=True)  # means 0.1, 2, 0.4
    loss = free_bits(kl, 0.25)
    assert loss.item() == pytest.approx(0.25 + 2 + 0.4)
    loss.backward()
    assert torch.equal(kl.grad, torch.tensor([[0, 0.5, 0.5], [0, 0.5, 0.5]]))
    assert free_bits(kl, 0.0).item() == pytest.approx(2.5)


def test_warm_up():
    assert [warm_up(step, 4) for step in (0, 1, 4, 9)] == [0, 0.25, 1, 1] and warm_up(0, 0) == 1


def test_the_bound_rises_to_the_evidence(rng):
    """x = W z + noise has p(x) = N(0, W W' + s^2); the bound is the ELBO for K = 1 and closes on log p(x)."""
    torch.manual_seed(0)
    weight, noise = torch.randn(5, 3, dtype=torch.float64), 0.5
    x = torch.randn(2, 5, dtype=torch.float64)
    covariance = weight @ weight.mT + noise**2 * torch.eye(5, dtype=torch.float64)
    evidence = MultivariateNormal(torch.zeros(5, dtype=torch.float64), covariance).log_prob(x)
    # A posterior that is off: the right mean, doubled variances of independent units.
    precision = torch.eye(3, dtype=torch.float64) + weight.mT @ weight / noise**2
    mean = x @ weight @ precision.inverse() / noise**2
    off = Posterior(mean, (2 * precision.inverse().diagonal()).log().expand(2, 3))

    def log_weights(posterior, z):
        likelihood = gaussian_log_prob(x, z @ weight.mT, 2 * math.log(noise)).sum(-1)
        return likelihood + gaussian_log_prob(z, 0.0, 0.0).sum(-1) - posterior.log_prob(z)

    def bound(k, runs):
        many = off.repeated(k * runs)
        weights = log_weights(many, many.sample(rng)).unflatten(0, (k, runs))
        return importance_weighted_bound(weights).mean(0)

    bounds = torch.stack([bound(k, 2000) for k in (1, 5, 50)])
    z = off.repeated(50_000).sample(rng)
    elbo = gaussian_log_prob(x, z @ weight.mT, 2 * math.log(noise)).sum(-1).mean(0) - off.kl().sum(-1)
    torch.testing.assert_close(bounds[0], elbo, atol=0.15, rtol=0)
    assert (bounds.diff(dim=0) > 0.02).all() and (bounds < evidence).all()
    torch.testing.assert_close(bound(20_000, 1), evidence, atol=0.05, rtol=0)
    # With the exact posterior every weight is p(x).
    exact = MultivariateNormal(mean, precision.inverse())
    z = exact.sample((7,))
    likelihood = gaussian_log_prob(x, z @ weight.mT, 2 * math.log(noise)).sum(-1)
    ratio = likelihood + gaussian_log_prob(z, 0.0, 0.0).sum(-1) - exact.log_prob(z)
    torch.testing.assert_close(importance_weighted_bound(ratio), evidence, atol=1e-9, rtol=0)


def test_active_units(rng):
    means = torch.randn(1000, 4, generator=rng) * torch.tensor([1.0, 0.2, 0.05, 0.0])
    assert active_units(means + 5).tolist() == [True, True, False, False]
