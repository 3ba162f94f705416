"""Wasserstein GANs: DCGAN's generator beside a critic whose slope is bounded, by clipped weights (WGAN,
arXiv:1701.07875) or by a gradient penalty (WGAN-GP, arXiv:1704.00028).

The critic's score estimates how far made pictures are from real ones; what either side minimises is
`nexus.process.gan.ClippedWasserstein` and `PenalisedWasserstein`. The critic learns `CRITIC_STEPS` times for each time
that the generator does. No official weights exist.
"""

from dataclasses import dataclass
from typing import Literal

from nexus.models.gan.base_gan import BaseGAN, BaseGANConfig, Discriminator, DiscriminatorConfig

CRITIC_STEPS = 5


@dataclass(frozen=True, kw_only=True)
class WGANConfig(BaseGANConfig):
    """The generator is DCGAN's."""


class WGAN(BaseGAN):
    """The generator."""


@dataclass(frozen=True, kw_only=True)
class CriticConfig(DiscriminatorConfig):
    """Layer norm is WGAN-GP's; clipped weights can't be with it, for they would be clipped too."""

    norm: Literal["batch", "layer", "spectral", "none"] = "layer"

    def __post_init__(self):
        super().__post_init__()
        if self.norm == "batch":
            raise ValueError("a critic's norm is layer, spectral or none: with batch norm pictures see one another")


class Critic(Discriminator):
    """A score without bounds, which is no probability's logit."""

    def __init__(self, config: CriticConfig):
        super().__init__(config)
