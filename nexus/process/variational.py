"""Variational inference with Gaussians: what a variational autoencoder minimises, and whether its code is in use.

Papers: Kingma and Welling (arXiv:1312.6114), free bits (arXiv:1606.04934, section C.8), beta-VAE (ICLR 2017) and its
capacity (arXiv:1804.03599), importance-weighted bounds and active units (Burda et al., arXiv:1509.00519).
Axes: B batch, D units of the code, K samples.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor


@dataclass(frozen=True)
class Posterior:
    """q(z|x), a Gaussian with independent units."""

    mean: Float[Tensor, "*B D"]
    log_variance: Float[Tensor, "*B D"]

    def sample(self, rng: torch.Generator) -> Float[Tensor, "*B D"]:
        """mean + deviation * noise, so that gradients reach both (arXiv:1312.6114, section 2.4)."""
        noise = torch.randn(self.mean.shape, generator=rng).to(self.mean)
        return self.mean + (self.log_variance / 2).exp() * noise

    def kl(self) -> Float[Tensor, "*B D"]:
        """KL(q || N(0, 1)) of every unit, in nats."""
        return (self.mean.square() + self.log_variance.exp() - 1 - self.log_variance) / 2

    def log_prob(self, z: Float[Tensor, "*B D"]) -> Float[Tensor, "*B"]:
        return gaussian_log_prob(z, self.mean, self.log_variance).sum(-1)

    def repeated(self, k: int) -> "Posterior":
        """k copies along a new first axis."""
        return Posterior(self.mean.expand(k, *self.mean.shape), self.log_variance.expand(k, *self.mean.shape))


def gaussian_log_prob(x: Tensor, mean: Tensor | float, log_variance: Tensor | float) -> Tensor:
    """log N(x; mean, variance) of every element."""
    log_variance = torch.as_tensor(log_variance, dtype=x.dtype, device=x.device)
    return -((x - mean).square() / log_variance.exp() + log_variance + math.log(2 * math.pi)) / 2


def free_bits(kl: Float[Tensor, "B D"], nats: float) -> Float[Tensor, ""]:
    """Sum over units of max(nats, mean KL over the batch): below `nats`, a unit is not charged and so not let go."""
    return kl.mean(0).clamp(min=nats).sum()


def warm_up(step: int, steps: int) -> float:
    """The KL's weight after `step` of `steps`: from 0 evenly up to 1 (arXiv:1602.02282, section 2.3)."""
    return min(1.0, step / steps) if steps else 1.0


def importance_weighted_bound(log_weights: Float[Tensor, "K ..."]) -> Float[Tensor, "..."]:
    """log of the mean weight p(x, z) / q(z|x) over K samples: at least the ELBO, and log p(x) in the limit (eq. 8)."""
    return log_weights.logsumexp(0) - math.log(len(log_weights))


def active_units(means: Float[Tensor, "N D"], threshold: float = 0.01) -> Bool[Tensor, " D"]:
    """Units whose posterior mean varies with x by more than `threshold` (variance; arXiv:1509.00519, section 5.1)."""
    return means.var(0) > threshold
