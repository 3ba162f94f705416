"""The games that a generator and its critic play: what each of them minimises.

The non-saturating one (Goodfellow et al., arXiv:1406.2661, section 3), with R1 (arXiv:1801.04406); Wasserstein's with
clipped weights (arXiv:1701.07875) and with a gradient penalty (arXiv:1704.00028).
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from nexus.process.input_gradient import Critic, gradient_penalty, r1

Losses = dict[str, Tensor]  # "loss" is minimised, the others are for the log
Scalar = Float[Tensor, ""]


def discriminator_non_saturating(real: Float[Tensor, "..."], fake: Float[Tensor, "..."]) -> Scalar:
    """-log D(x) - log(1 - D(x')), of logits; 2 log 2 where nothing can be told apart."""
    return F.softplus(-real).mean() + F.softplus(fake).mean()


def generator_non_saturating(fake: Float[Tensor, "..."]) -> Scalar:
    """-log D(x'): steep where the discriminator is sure of a fake, unlike log(1 - D(x'))."""
    return F.softplus(-fake).mean()


@dataclass(frozen=True, kw_only=True)
class Game(ABC):
    @abstractmethod
    def judge(self, critic: Critic, real: Tensor, fake: Tensor, rng: torch.Generator) -> Losses:
        """What the critic minimises."""

    @abstractmethod
    def deceive(self, critic: Critic, fake: Tensor) -> Scalar:
        """What the generator minimises."""

    def confine(self, critic: nn.Module) -> None:  # noqa: B027
        """Brings the critic back among those that are allowed, after it learnt."""


@dataclass(frozen=True, kw_only=True)
class NonSaturating(Game):
    """`r1_weight` is the paper's gamma, which charges the critic gamma / 2 for its squared slope at real items."""

    r1_weight: float = 0.0

    def judge(self, critic: Critic, real: Tensor, fake: Tensor, rng: torch.Generator) -> Losses:
        loss = discriminator_non_saturating(critic(real), critic(fake))
        if not self.r1_weight:
            return {"loss": loss}
        slope = r1(critic, real)
        return {"loss": loss + self.r1_weight / 2 * slope, "adversarial": loss.detach(), "r1": slope.detach()}

    def deceive(self, critic: Critic, fake: Tensor) -> Scalar:
        return generator_non_saturating(critic(fake))


@dataclass(frozen=True, kw_only=True)
class Wasserstein(Game):
    """The critic estimates how far the two distributions are apart; the generator closes the distance."""

    def judge(self, critic: Critic, real: Tensor, fake: Tensor, rng: torch.Generator) -> Losses:
        distance = critic(real).mean() - critic(fake).mean()
        return {"loss": -distance, "distance": distance.detach()}

    def deceive(self, critic: Critic, fake: Tensor) -> Scalar:
        return -critic(fake).mean()


@dataclass(frozen=True, kw_only=True)
class ClippedWasserstein(Wasserstein):
    """Weights within [-clip, clip] keep the critic's slope bounded (WGAN, algorithm 1)."""

    clip: float = 0.01

    @torch.no_grad()
    def confine(self, critic: nn.Module) -> None:
        for parameter in critic.parameters():
            parameter.clamp_(-self.clip, self.clip)


@dataclass(frozen=True, kw_only=True)
class PenalisedWasserstein(Wasserstein):
    """A penalty keeps the critic's slope near 1 on the way between real and fake (WGAN-GP, algorithm 1)."""

    penalty_weight: float = 10.0

    def judge(self, critic: Critic, real: Tensor, fake: Tensor, rng: torch.Generator) -> Losses:
        losses = super().judge(critic, real, fake, rng)
        penalty = gradient_penalty(critic, real, fake, rng)
        return {**losses, "loss": losses["loss"] + self.penalty_weight * penalty, "penalty": penalty.detach()}
