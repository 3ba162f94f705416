"""What a variational autoencoder keeps of pictures in its code, in nats, and what comes back of them."""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from nexus.metrics.posterior import PosteriorReport, posterior_report
from nexus.models.vae.vae import VAE

SAMPLES = 50  # of the importance-weighted bound


class Kept(NamedTuple):
    report: PosteriorReport
    elbo: float  # nats a picture, as the next
    bound: float  # importance-weighted: between the ELBO and log p(x)
    error: float  # mean square, of what the posterior's mean is decoded to


@torch.no_grad()
def evaluate_vae(model: VAE, x: Float[Tensor, "B C H W"], *, seed: int = 0) -> Kept:
    """Of pictures that should be held-out ones."""
    rng = torch.Generator().manual_seed(seed)
    elbo, bound = (model.bound(x, k, rng).mean().item() for k in (1, SAMPLES))
    return Kept(posterior_report(model, x), elbo, bound, (model(x) - x).square().mean().item())
