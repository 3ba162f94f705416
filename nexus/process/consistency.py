"""Consistency functions (arXiv:2303.01469, LCM arXiv:2310.04378): every state of a path goes to its end at once.

At the least noise the function must be the identity, which its scaling sees to: `c_skip` is 1 and `c_out` 0 there.
"""

import math

import torch
from jaxtyping import Float, Int, Num
from torch import Tensor

from nexus.process.diffusion import DataField, Network
from nexus.process.levels import Level, karras


def consistency_function(
    network: Network,
    x: Float[Tensor, " B *axes"],
    sigma: Float[Tensor, " B"],
    least: float = 0.002,
    sigma_data: float | int = 0.5,
) -> Float[Tensor, " B *axes"]:
    """The data at the end of each item's path (appendix C), `x = data + sigma * noise`.

    The network is told 250 ln(sigma).

    Args:
        least: the noise level of the identity (epsilon).
    """
    by = (sigma**2 + sigma_data**2).rsqrt()
    skip = sigma_data**2 / ((sigma - least) ** 2 + sigma_data**2)
    out = (sigma - least) * sigma_data * by
    skip, out, into = (factor.to(x).reshape(-1, *[1] * (x.ndim - 1)) for factor in (skip, out, by))
    return skip * x + out * network(into * x, 250 * sigma.log())


def consistency_field(network: Network, least: float = 0.002, sigma_data: float | int = 0.5) -> DataField:
    """The same on an `exploding` path, for samplers."""

    def estimate(x: Tensor, level: Level) -> Tensor:
        sigma = torch.full((len(x),), max(level.sigma, least), device=x.device)
        return consistency_function(network, x, sigma, least, sigma_data)

    return estimate


def latent_scaling(
    step: Num[Tensor, " B"], sigma_data: float | int = 0.5, scale: float | int = 10.0
) -> tuple[Float[Tensor, " B"], Float[Tensor, " B"]]:
    """LCM's c_skip and c_out over an estimate of the data: the identity at step 0 (LCM, section 4.1)."""
    time = scale * step
    total = time**2 + sigma_data**2
    return sigma_data**2 / total, time / total**0.5


def latent_consistency_field(field: DataField, sigma_data: float | int = 0.5, scale: float | int = 10.0) -> DataField:
    """LCM's form over any diffusion model's estimate of the data."""

    def estimate(x: Tensor, level: Level) -> Tensor:
        time = torch.tensor([level.time], dtype=torch.float64)
        skip, out = (float(part) for part in latent_scaling(time, sigma_data, scale))
        return skip * x + out * field(x, level)

    return estimate


def pseudo_huber(
    ours: Float[Tensor, " B *axes"], wanted: Float[Tensor, " B *axes"], c: float | None = None
) -> Float[Tensor, " B"]:
    """sqrt(|a - b|^2 + c^2) - c: squared near 0, then linear (arXiv:2310.14189, eq. 7); c is 0.00054 sqrt(D)."""
    square = (ours - wanted).float().square().flatten(1)
    near = 0.00054 * square.shape[1] ** 0.5 if c is None else c
    return (square.sum(1) + near**2).sqrt() - near


def neighbours(n_levels: int, n: int, rng: torch.Generator, mean: float = -1.1, std: float = 2.0) -> Int[Tensor, " n"]:
    """Which of the n_levels - 1 gaps of `karras(80, 0.002, n_levels)`, the highest first, each item learns to close.

    Drawn so that the logarithms of noise levels are about normal (arXiv:2310.14189, eq. 10).
    """
    logs = torch.tensor(karras(80.0, 0.002, n_levels), dtype=torch.float64).log()
    below = torch.erf((logs - mean) / (std * math.sqrt(2)))
    return torch.multinomial(below[:-1] - below[1:], n, replacement=True, generator=rng)


def lcm_steps(n_steps: int, steps: int, *, origin: int = 50, strength: float | int = 1.0) -> Int[Tensor, " n"]:
    """`steps` of the `origin` steps that the model was distilled at, from the last down; then -1, the data.

    Args:
        strength: the share of them that is walked, for image-to-image.

    Raises:
        ValueError: more steps than there are, or a strength that leaves none.
    """
    known = torch.arange(1, int(origin * strength) + 1) * (n_steps // origin) - 1
    if not 1 <= steps <= origin <= n_steps:
        raise ValueError(f"n_steps must be from 1 to {origin}, the steps that the model was distilled at, got {steps}")
    if steps > len(known):
        raise ValueError(
            f"strength {strength:g} leaves {len(known)} of the {origin} steps that the model was distilled at, and "
            f"{steps} are asked for; take at least {math.ceil(100 * steps / origin) / 100:g}"
        )
    chosen = (torch.arange(steps, dtype=torch.float64) * (len(known) / steps)).floor().long()
    return torch.cat([known.flip(0)[chosen], torch.tensor([-1])])
