"""A GAN of points in the plane: small enough to see whole distributions, such as the modes it covers.

The networks are of the kind that WGAN-GP (arXiv:1704.00028, section 5.1) tries toy distributions with.
Axes: B batch, D width of the code.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from nexus.process.noise import gaussian, generators


@dataclass(frozen=True, kw_only=True)
class PointGANConfig:
    latent_dim: int = 2
    dim: int = 128
    n_layers: int = 3


class PointGAN(nn.Module):
    """The generator."""

    def __init__(self, config: PointGANConfig):
        super().__init__()
        self.config = config
        self.layers = _perceptron(config.latent_dim, config.dim, 2, config.n_layers)

    def forward(self, z: Float[Tensor, "B D"]) -> Float[Tensor, "B 2"]:
        return self.layers(z)

    def fakes(self, label: Int[Tensor, " B"], rng: torch.Generator) -> Float[Tensor, "B 2"]:
        """As many points as there are labels, for training."""
        z = torch.randn(len(label), self.config.latent_dim, generator=rng)
        return self(z.to(next(self.parameters())))

    @torch.no_grad()
    def generate(self, n: int = 1, *, seed: int | None = None) -> Float[Tensor, "B 2"]:
        """n points, point i by the code of `seed + i` alone."""
        if n < 1:
            raise ValueError(f"n must be at least 1, got {n}")
        weight = next(self.parameters())
        return self(gaussian((self.config.latent_dim,), generators(seed, n), device=weight.device, dtype=weight.dtype))


class PointCritic(nn.Module):
    """A logit for each point; every layer of slope at most 1 where `spectral`."""

    def __init__(self, config: PointGANConfig, *, spectral: bool = False):
        super().__init__()
        self.layers = _perceptron(2, config.dim, 1, config.n_layers)
        if spectral:
            for layer in self.layers:
                if isinstance(layer, nn.Linear):
                    spectral_norm(layer)

    def forward(self, x: Float[Tensor, "B 2"]) -> Float[Tensor, " B"]:
        return self.layers(x)[:, 0]


def _perceptron(dim_in: int, dim: int, dim_out: int, n_layers: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for i in range(n_layers):
        layers += [nn.Linear(dim if i else dim_in, dim), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(dim, dim_out))
