"""What a VAE keeps: of a linear Gaussian model the evidence is known in closed form."""

import math

import pytest
import torch

from nexus.metrics.evaluate_vae import evaluate_vae
from nexus.models.vae.networks import CoderConfig
from nexus.models.vae.vae import VAE, VAEConfig


def test_bounds_in_their_order_and_a_code_that_says_nothing():
    coder = CoderConfig(kind="conv", channels=1, size=(16, 16), dims=(8,), latent_dim=3)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = VAE(VAEConfig(coder=coder, noise=0.5)).eval()
    x = torch.rand(40, 1, 16, 16, generator=torch.Generator().manual_seed(1)) * 2 - 1
    kept = evaluate_vae(model, x, seed=3)
    assert kept == evaluate_vae(model, x, seed=3)  # drawn by the seed alone
    assert kept.elbo < kept.bound  # tightens with samples
    assert kept.error == pytest.approx((model(x) - x).square().mean().item())

    with torch.no_grad():  # posterior is the prior, the decoder says 0 whatever the code: the evidence is exact
        for parameter in model.parameters():
            parameter.zero_()
    kept = evaluate_vae(model, x)
    evidence = -(x.square() / 0.25 + math.log(2 * math.pi * 0.25)).sum((1, 2, 3)).mean().item() / 2
    assert kept.elbo == pytest.approx(evidence, rel=1e-5) and kept.bound == pytest.approx(evidence, rel=1e-5)
    assert kept.report.n_active == 0 and sum(kept.report.kl) == 0
