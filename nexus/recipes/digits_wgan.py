"""WGAN-GP on the digits. No weights come along.

Clipped weights instead, as the first WGAN has them: `digits_wgan_clipped.py`.
"""

from dataclasses import dataclass, field
from typing import Literal

from torch import nn

from nexus.models.gan.base_gan import BaseGANConfig
from nexus.models.gan.wgan import CRITIC_STEPS, WGAN, Critic, CriticConfig, WGANConfig
from nexus.process.gan import Game, PenalisedWasserstein
from nexus.recipes.digits_gan import DigitsGAN
from nexus.training.gan import adam
from nexus.training.recipe import LoopConfig, OptimizerConfig


@dataclass(frozen=True, kw_only=True)
class DigitsWGAN(DigitsGAN):
    """Adam without momentum, as WGAN-GP has it for its larger networks."""

    name: str = "digits-wgan"
    loop: LoopConfig = LoopConfig(
        steps=2500, ema_decay=0.999, log_every=100, validate_every=500, validation_batches=1, save_every=500
    )
    model: BaseGANConfig = field(default_factory=lambda: WGANConfig(channels=1, latent_dim=32, dims=(64, 32)))
    optimizer: OptimizerConfig = field(default_factory=lambda: adam(1e-3, 0.0, 0.9))
    critic_optimizer: OptimizerConfig = field(default_factory=lambda: adam(1e-3, 0.0, 0.9))
    game: Game = field(default_factory=PenalisedWasserstein)
    critic_steps: int = CRITIC_STEPS
    norm: Literal["batch", "layer", "spectral", "none"] = "layer"

    def generator(self) -> nn.Module:
        assert isinstance(self.model, WGANConfig)
        return WGAN(self.model)

    def critic(self) -> nn.Module:
        return Critic(self.critic_config())

    def critic_config(self) -> CriticConfig:
        return CriticConfig(channels=1, size=self.model.size, dims=self.critic_dims, norm=self.norm)

    @property
    def kind(self) -> str:
        return "wgan"


recipe = DigitsWGAN()
