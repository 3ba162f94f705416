"""GANs that are told a class (arXiv:1411.1784), with the two ways to tell the discriminator: by concatenating the class
to the picture, or by the projection discriminator's inner product (arXiv:1802.05637).

Axes: B batch, C channels, H height, W width, D width of the code.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from nexus.models.gan.base_gan import BaseGAN, BaseGANConfig, Discriminator, DiscriminatorConfig, Pictures


@dataclass(frozen=True, kw_only=True)
class ConditionalGANConfig(BaseGANConfig):
    n_classes: int = 10
    class_dim: int = 32  # of what is learnt of each class

    def __post_init__(self):
        super().__post_init__()
        if self.n_classes < 1 or self.class_dim < 1:
            raise ValueError(f"n_classes and class_dim must be at least 1, got {self.n_classes} and {self.class_dim}")


class ConditionalGAN(BaseGAN):
    """DCGAN's generator with the class beside the code."""

    config: ConditionalGANConfig

    def __init__(self, config: ConditionalGANConfig):
        super().__init__(config)
        self.classes = nn.Embedding(config.n_classes, config.class_dim)

    @property
    def code_dim(self) -> int:
        return self.config.latent_dim + self.config.class_dim

    def forward(self, z: Float[Tensor, "B D"], label: Int[Tensor, " B"] | None = None) -> Pictures:
        return super().forward(torch.cat([z, self.classes(label)], dim=1))


class ConcatenationDiscriminator(Discriminator):
    """The class as one more channel of the picture: a plane that is learnt for each."""

    def __init__(self, config: DiscriminatorConfig):
        super().__init__(config)
        self.planes = nn.Embedding(_n_classes(config), config.size**2)

    @property
    def seen_channels(self) -> int:
        return self.config.channels + 1

    def forward(self, x: Pictures, label: Int[Tensor, " B"] | None = None) -> Float[Tensor, " B"]:
        plane = self.planes(label).view(len(x), 1, *x.shape[2:])
        return super().forward(torch.cat([x, plane], dim=1))


class ProjectionDiscriminator(Discriminator):
    """psi(phi(x)) + <v_y, phi(x)>, phi being the features summed over the picture (eq. 4 and figure 1d)."""

    def __init__(self, config: DiscriminatorConfig):
        super().__init__(config)
        embedding = nn.Embedding(_n_classes(config), config.dims[-1])
        self.classes = spectral_norm(embedding) if config.norm == "spectral" else embedding
        linear = nn.Linear(config.dims[-1], 1)
        self.out = spectral_norm(linear) if config.norm == "spectral" else linear

    def forward(self, x: Pictures, label: Int[Tensor, " B"] | None = None) -> Float[Tensor, " B"]:
        features = self.layers(x).sum((2, 3))  # [B, D]
        return self.out(features)[:, 0] + (self.classes(label) * features).sum(1)


def _n_classes(config: DiscriminatorConfig) -> int:
    if not config.n_classes:
        raise ValueError("a discriminator that is told classes needs to know how many: set n_classes")
    return config.n_classes
