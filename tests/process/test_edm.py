"""EDM's scaling, loss and stochastic sampler, by what the paper derives them from."""

import pytest
import torch

from nexus.process.edm import edm_field, edm_loss, log_normal, precondition, scaling
from nexus.process.flow import last
from nexus.process.levels import exploding, karras
from nexus.process.noise import gaussian, generators
from nexus.process.schedule import linear, trailing
from nexus.process.solvers import heun

DATA_STD = 0.5


def test_scaling_equals_the_reference():
    diffusers = pytest.importorskip("diffusers")
    reference = diffusers.EDMEulerScheduler()
    sigma, sample, output = torch.tensor([0.002, 0.3, 40.0]), torch.randn(3, 4), torch.randn(3, 4)
    ours = precondition(lambda x, t: output, sample, sigma)
    for i in range(3):
        theirs = reference.precondition_outputs(sample[i], output[i], sigma[i])
        torch.testing.assert_close(ours[i], theirs)
        torch.testing.assert_close(
            scaling(sigma).into[i], reference._get_conditioning_c_in(sigma[i]), check_dtype=False
        )


def test_the_network_sees_and_is_asked_for_unit_deviation(rng):
    """What the scaling is for (appendix B.6): both its input and its target have deviation 1 at every level."""
    data, noise = DATA_STD * torch.randn(2, 200_000, generator=rng).unbind()[0], torch.randn(200_000, generator=rng)
    for sigma in (0.01, 0.5, 30.0):
        by = scaling(torch.tensor([sigma]), DATA_STD)
        x = data + sigma * noise
        assert (by.into * x).std().item() == pytest.approx(1, rel=0.02)
        assert ((data - by.skip * x) / by.out).std().item() == pytest.approx(1, rel=0.02)


def test_the_loss_weighs_the_networks_own_error_alike_everywhere(rng):
    data, noise = torch.randn(3, 50, generator=rng), torch.randn(3, 50, generator=rng)
    sigma = torch.tensor([0.01, 1.0, 50.0])
    by = scaling(sigma)
    right = (data - by.skip[:, None] * (data + sigma[:, None] * noise)) / by.out[:, None]
    loss = edm_loss(lambda x, t: right + torch.tensor([0.0, 1.0, 2.0])[:, None], data, noise, sigma)
    torch.testing.assert_close(loss, torch.tensor([0.0, 1.0, 4.0]), atol=1e-3, rtol=1e-3)


def test_levels_to_train_at_are_log_normal():
    levels = log_normal(50_000, torch.Generator().manual_seed(0)).log()
    assert levels.mean().item() == pytest.approx(-1.2, abs=0.02) and levels.std().item() == pytest.approx(1.2, abs=0.02)


@pytest.mark.parametrize("churn", [0.0, 30.0])
def test_samples_of_gaussian_data_have_its_moments(churn):
    """The best network for data of deviation 0.5 answers 0: c_skip alone is the posterior mean."""
    rngs = generators(0, 1)
    path = exploding(karras(80, 0.002, 150))
    noise = 80 * gaussian((20_000,), rngs)
    x = last(heun(edm_field(lambda x, t: torch.zeros_like(x)), noise, path, churn=churn, rngs=rngs))
    assert x.mean().item() == pytest.approx(0, abs=0.02) and x.std().item() == pytest.approx(DATA_STD, rel=0.02)


def test_churn_draws_and_needs_what_it_draws_from():
    path, field = exploding(karras(80, 0.002, 5)), edm_field(lambda x, t: x)
    noise = 80 * gaussian((8,), generators(0, 1))
    still, churned = (last(heun(field, noise, path, churn=c, rngs=generators(1, 1))) for c in (0, 2))
    assert (still - churned).abs().max() > 1e-3
    with pytest.raises(ValueError, match="rngs"):
        next(heun(field, noise, path, churn=1))
    with pytest.raises(ValueError, match="exploding"):
        next(heun(field, noise, linear().path(trailing(1000, 4)), churn=1, rngs=generators(1, 1)))
