"""EDM (Karras et al., arXiv:2206.00364): data plus noise of any level, a network kept at unit scale, its loss.

`x = data + sigma * noise`. The network F sees `c_in * x` and `ln(sigma) / 4`; the estimate of the data is
`c_skip * x + c_out * F` (table 1, last column).
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from nexus.process.diffusion import DataField, Network
from nexus.process.levels import Level


class Scaling(NamedTuple):
    """c_skip, c_out, c_in and c_noise of a noise level, floats or tensors [B]."""

    skip: Tensor
    out: Tensor
    into: Tensor
    noise: Tensor


def scaling(sigma: Float[Tensor, " B"], sigma_data: float | int = 0.5) -> Scaling:
    total = sigma**2 + sigma_data**2
    return Scaling(sigma_data**2 / total, sigma * sigma_data / total.sqrt(), 1 / total.sqrt(), sigma.log() / 4)


def edm_field(network: Network, sigma_data: float | int = 0.5) -> DataField:
    """The estimate of the data on an `exploding` path."""

    def estimate(x: Tensor, level: Level) -> Tensor:
        return precondition(network, x, torch.full((len(x),), level.sigma, device=x.device), sigma_data)

    return estimate


def precondition(
    network: Network, x: Float[Tensor, " B *axes"], sigma: Float[Tensor, " B"], sigma_data: float | int = 0.5
) -> Float[Tensor, " B *axes"]:
    """The estimate of the data in x, each item at its own noise level."""
    by = scaling(sigma.to(x), sigma_data)
    skip, out, into = (part.reshape(-1, *[1] * (x.ndim - 1)) for part in by[:3])
    return skip * x + out * network(into * x, by.noise)


def log_normal(
    n: int, generator: torch.Generator, mean: float | int = -1.2, std: float | int = 1.2
) -> Float[Tensor, " B"]:
    """Noise levels to train at: their logarithms are normal (section 5)."""
    return (mean + std * torch.randn(n, generator=generator)).exp()


def edm_loss(
    network: Callable[[Tensor, Tensor], Tensor],
    data: Float[Tensor, " B *axes"],
    noise: Float[Tensor, " B *axes"],
    sigma: Float[Tensor, " B"],
    sigma_data: float | int = 0.5,
) -> Float[Tensor, " B"]:
    """Squared error of the estimate, weighted so that the network's own error counts alike everywhere (table 1)."""
    level = sigma.to(data).reshape(-1, *[1] * (data.ndim - 1))
    error = precondition(network, data + level * noise, sigma, sigma_data) - data
    weight = (sigma**2 + sigma_data**2) / (sigma * sigma_data) ** 2
    return weight.to(error.device) * error.float().square().flatten(1).mean(dim=1)
