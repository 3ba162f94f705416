"""Consistency functions (arXiv:2303.01469, LCM arXiv:2310.04378): every state of a path goes to its end at once.

At the least noise the function must be the identity, which its scaling sees to: `c_skip` is 1 and `c_out` 0 there.
"""

import math

import torch
from jaxtyping import Int
from torch import Tensor

from nexus.process.diffusion import DataField, Network
from nexus.process.levels import Level


def consistency_field(network: Network, least: float = 0.002, sigma_data: float | int = 0.5) -> DataField:
    """Consistency models' own form, on an `exploding` path (appendix C); the network is told 250 ln(sigma).

    Args:
        least: the noise level of the identity (epsilon).
    """

    def estimate(x: Tensor, level: Level) -> Tensor:
        sigma = max(level.sigma, least)
        skip = sigma_data**2 / ((sigma - least) ** 2 + sigma_data**2)
        into = 1 / math.sqrt(sigma**2 + sigma_data**2)
        out = (sigma - least) * sigma_data * into
        time = torch.full((len(x),), 250 * math.log(sigma), device=x.device)
        return skip * x + out * network(into * x, time)

    return estimate


def latent_consistency_field(field: DataField, sigma_data: float | int = 0.5, scale: float | int = 10.0) -> DataField:
    """LCM's form over any diffusion model's estimate of the data: the identity at step 0 (LCM, section 4.1)."""

    def estimate(x: Tensor, level: Level) -> Tensor:
        time = scale * level.time
        skip = sigma_data**2 / (time**2 + sigma_data**2)
        return skip * x + time / math.sqrt(time**2 + sigma_data**2) * field(x, level)

    return estimate


def lcm_steps(n_steps: int, steps: int, *, origin: int = 50, strength: float | int = 1.0) -> Int[Tensor, " n"]:
    """`steps` of the `origin` steps that the model was distilled at, from the last down; then -1, the data.

    Args:
        strength: the share of them that is walked, for image-to-image.

    Raises:
        ValueError: more steps than there are, or a strength that leaves none.
    """
    known = torch.arange(1, int(origin * strength) + 1) * (n_steps // origin) - 1
    if not 1 <= steps <= len(known) or origin > n_steps:
        raise ValueError(
            f"steps must be from 1 to {len(known)}, which are {strength:g} of the {origin} (of {n_steps}) that the "
            f"model was distilled at; got {steps}"
        )
    chosen = (torch.arange(steps, dtype=torch.float64) * (len(known) / steps)).floor().long()
    return torch.cat([known.flip(0)[chosen], torch.tensor([-1])])
