"""beta-VAE (Higgins et al., ICLR 2017): the KL counts beta times, which keeps the units of the code apart; or it is
held at a capacity that rises (Burgess et al., arXiv:1804.03599). No official weights exist."""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from nexus.models.vae.vae import VAE, VAEConfig
from nexus.process.variational import free_bits


@dataclass(frozen=True, kw_only=True)
class BetaVAEConfig(VAEConfig):
    """With a `capacity`, the loss is beta |KL - C|, C rising from 0 to it during the warm-up (their gamma is beta)."""

    beta: float = 4.0
    capacity: float | None = None  # nats

    def __post_init__(self):
        super().__post_init__()
        if self.beta < 0 or (self.capacity is not None and self.capacity < 0):
            raise ValueError(f"beta and capacity must not be negative, got {self.beta} and {self.capacity}")


class BetaVAE(VAE):
    config: BetaVAEConfig

    def __init__(self, config: BetaVAEConfig):
        super().__init__(config)

    def charge(self, kl: Float[Tensor, "B D"], weight: float) -> Float[Tensor, ""]:
        if self.config.capacity is None:
            return self.config.beta * super().charge(kl, weight)
        return self.config.beta * (free_bits(kl, self.config.free_nats) - weight * self.config.capacity).abs()
