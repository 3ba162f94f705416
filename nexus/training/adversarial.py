"""The adversarial half of training a codec or vocoder: which discriminators, from when, on how much, how strongly."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from nexus.process import adversarial
from nexus.process.adversarial import Discriminators, Judgement
from nexus.process.least_squares import (
    FEATURE_WEIGHT,
    discriminator_sum,
    feature_sum,
    generator_sum,
)
from nexus.training.recipe import Batch, OptimizerConfig


@dataclass(frozen=True, kw_only=True)
class AdversarialConfig:
    """Small discriminators over STFTs and periods that see excerpts: they cost more than a small generator itself."""

    start: int = 0  # the first step with discriminators
    every: int = 1  # of so many steps, discriminators learn in the last
    items: int = 8  # of a batch
    length: int = 6144  # samples of an excerpt
    n_ffts: tuple[int, ...] = (1024, 512, 256)
    n_filters: int = 8
    periods: tuple[int, ...] = (2, 3, 5)
    widths: tuple[int, ...] = (8, 32, 64, 64)  # of the period discriminators
    weight: float = 0.06  # of the adversarial loss
    feature_weight: float = 0.12  # of feature matching
    # Constant: a rate that follows the generator's would be small by the time the discriminators join.
    optimizer: OptimizerConfig = field(
        default_factory=lambda: OptimizerConfig(lr=1e-3, betas=(0.8, 0.95), clip_norm=5.0, schedule="constant")
    )

    def discriminators(self) -> Discriminators:
        stft = adversarial.STFTDiscriminatorConfig(n_ffts=self.n_ffts, n_filters=self.n_filters)
        return Discriminators(*adversarial.multi_scale_stft(stft), *adversarial.multi_period(self.periods, self.widths))

    def joined(self, batch: Batch) -> bool:
        """Whether discriminators take part in the step of this batch."""
        return int(batch["step"][0]) >= self.start

    def learns(self, batch: Batch) -> bool:
        """Whether discriminators learn in this step."""
        return self.joined(batch) and (int(batch["step"][0]) + 1) % self.every == 0

    def excerpts(self, real: Tensor, fake: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """The same random place of both, of the first items."""
        start = int(torch.randint(real.shape[-1] - self.length + 1, (), generator=generator))
        place = slice(start, start + self.length)
        return real[: self.items, :, place], fake[: self.items, :, place]

    def discriminator_loss(
        self, judges: Discriminators, real: Tensor, fake: Tensor, generator: torch.Generator
    ) -> dict[str, Tensor]:
        real, fake = self.excerpts(real, fake.detach(), generator)
        return {"loss": self.unmask(judges(real), judges(fake))}

    def generator_losses(
        self, judges: Discriminators, real: Tensor, fake: Tensor, generator: torch.Generator
    ) -> dict[str, Tensor]:
        """The adversarial loss and feature matching, as they are; `weighed` sums them."""
        real, fake = self.excerpts(real, fake, generator)
        with torch.no_grad():
            truth = judges(real)
        judged = judges(fake)
        return {"adversarial": self.deceive(judged), "features": self.match(truth, judged)}

    def weighed(self, losses: Mapping[str, Tensor]) -> Tensor:
        """What the generator minimises of `generator_losses`."""
        return self.weight * losses["adversarial"] + self.feature_weight * losses["features"]

    def unmask(self, real: Judgement, fake: Judgement) -> Tensor:
        """What the discriminators minimise."""
        return adversarial.discriminator_hinge(real, fake)

    def deceive(self, fake: Judgement) -> Tensor:
        """What the generator minimises."""
        return adversarial.generator_hinge(fake)

    def match(self, real: Judgement, fake: Judgement) -> Tensor:
        """How far features of the fake are from the real's."""
        return adversarial.feature_matching(real, fake)


@dataclass(frozen=True, kw_only=True)
class LeastSquaresConfig(AdversarialConfig):
    """Sums over judges, as HiFi-GAN's and DAC's."""

    weight: float = 1.0
    feature_weight: float = FEATURE_WEIGHT

    def unmask(self, real: Judgement, fake: Judgement) -> Tensor:
        return discriminator_sum(real, fake)

    def deceive(self, fake: Judgement) -> Tensor:
        return generator_sum(fake)

    def match(self, real: Judgement, fake: Judgement) -> Tensor:
        return feature_sum(real, fake)


def waiting() -> dict[str, Tensor]:
    """The discriminators' loss when it is not their turn: nothing to learn."""
    return {"loss": torch.zeros((), requires_grad=True)}
