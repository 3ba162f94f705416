"""A GAN of the digits that is told which digit; its discriminator by projection or by concatenation.

No weights come along.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor, nn

from nexus.data.digits import N_CLASSES
from nexus.models.gan.base_gan import BaseGANConfig, DiscriminatorConfig
from nexus.models.gan.conditional_gan import (
    ConcatenationDiscriminator,
    ConditionalGAN,
    ConditionalGANConfig,
    ProjectionDiscriminator,
)
from nexus.process.augment import augmented
from nexus.process.gan import Game, NonSaturating
from nexus.recipes.digits_gan import DigitsGAN
from nexus.training.recipe import Batch

DISCRIMINATORS = {"projection": ProjectionDiscriminator, "concatenation": ConcatenationDiscriminator}


@dataclass(frozen=True, kw_only=True)
class DigitsConditionalGAN(DigitsGAN):
    name: str = "digits-conditional-gan"
    model: BaseGANConfig = field(
        default_factory=lambda: ConditionalGANConfig(channels=1, latent_dim=32, dims=(64, 32), n_classes=N_CLASSES)
    )
    told: Literal["projection", "concatenation"] = "projection"
    norm: Literal["batch", "layer", "spectral", "none"] = "none"
    # With spectral norm alone every class came out as one and the same picture.
    game: Game = field(default_factory=lambda: NonSaturating(r1_weight=1.0))

    def generator(self) -> nn.Module:
        assert isinstance(self.model, ConditionalGANConfig)
        return ConditionalGAN(self.model)

    def critic(self) -> nn.Module:
        return DISCRIMINATORS[self.told](self.critic_config())

    def critic_config(self) -> DiscriminatorConfig:
        size, dims = self.model.size, self.critic_dims
        return DiscriminatorConfig(channels=1, size=size, dims=dims, norm=self.norm, n_classes=N_CLASSES)

    def asked(self, critic: nn.Module, batch: Batch, rng: torch.Generator) -> Callable[[Tensor], Tensor]:
        return lambda x: critic(augmented(x, self.augment, rng), batch["label"])

    @property
    def kind(self) -> str:
        return "conditional-gan"


recipe = DigitsConditionalGAN()
