"""Encoders and decoders of variational autoencoders: perceptrons (arXiv:1312.6114, appendix C) and convolutions.

Axes: B batch, C channels, H height, W width, D units of the code.
"""

from dataclasses import dataclass
from itertools import pairwise
from math import prod
from typing import Literal

from jaxtyping import Float
from torch import Tensor, nn

Pictures = Float[Tensor, "B C H W"]


@dataclass(frozen=True, kw_only=True)
class CoderConfig:
    """`dims` are the widths of hidden layers from the picture on; convolutions halve the picture with each."""

    kind: Literal["mlp", "conv"] = "conv"
    channels: int = 1
    size: tuple[int, int] = (16, 16)
    dims: tuple[int, ...] = (32, 64)
    latent_dim: int = 16

    def __post_init__(self):
        if self.kind not in ("mlp", "conv"):
            raise ValueError(f"kind must be mlp or conv, got {self.kind!r}")
        if not self.dims or min(self.channels, self.latent_dim, *self.dims) < 1:
            raise ValueError(f"channels, latent_dim and dims must be at least 1, got {self}")
        multiple = 2 ** len(self.dims) if self.kind == "conv" else 1
        if any(side < multiple or side % multiple for side in self.size):
            nearest = tuple(max(round(side / multiple), 1) * multiple for side in self.size)
            raise ValueError(f"size must be in multiples of {multiple}, got {self.size}; nearest is {nearest}")

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of a picture."""
        return self.channels, *self.size

    @property
    def smallest(self) -> tuple[int, int, int]:
        """Of what the last convolution gives."""
        height, width = (side // 2 ** len(self.dims) for side in self.size)
        return self.dims[-1], height, width


def encoder(config: CoderConfig) -> nn.Sequential:
    """Pictures [B, C, H, W] to means and log variances, side by side [B, 2 D]."""
    layers: list[nn.Module] = []
    if config.kind == "mlp":
        layers.append(nn.Flatten())
        for dim, wider in pairwise((prod(config.shape), *config.dims)):
            layers += [nn.Linear(dim, wider), nn.SiLU()]
        return nn.Sequential(*layers, nn.Linear(config.dims[-1], 2 * config.latent_dim))
    for dim, wider in pairwise((config.channels, *config.dims)):
        layers += [nn.Conv2d(dim, wider, 4, 2, 1), nn.SiLU()]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(prod(config.smallest), 2 * config.latent_dim))


def decoder(config: CoderConfig) -> nn.Sequential:
    """Codes [B, D] to what the likelihood is made of, [B, C, H, W]."""
    dims = config.dims[::-1]
    layers: list[nn.Module] = []
    if config.kind == "mlp":
        for dim, wider in pairwise((config.latent_dim, *dims)):
            layers += [nn.Linear(dim, wider), nn.SiLU()]
        return nn.Sequential(*layers, nn.Linear(dims[-1], prod(config.shape)), nn.Unflatten(1, config.shape))
    layers += [nn.Linear(config.latent_dim, prod(config.smallest)), nn.SiLU(), nn.Unflatten(1, config.smallest)]
    for dim, narrower in pairwise(dims):
        layers += [nn.ConvTranspose2d(dim, narrower, 4, 2, 1), nn.SiLU()]
    return nn.Sequential(*layers, nn.ConvTranspose2d(dims[-1], config.channels, 4, 2, 1))
