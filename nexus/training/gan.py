"""What recipes of GANs share: the critic's turns before the generator's, in the game that they play."""

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import cast

import torch
from torch import Tensor, nn

from nexus.process.augment import augmented
from nexus.process.gan import Game, NonSaturating
from nexus.training.adversarial import waiting
from nexus.training.recipe import Batch, Networks, Objective, OptimizerConfig, Recipe


def adam(lr: float, beta1: float = 0.5, beta2: float = 0.999) -> OptimizerConfig:
    """Adam as GANs use it: no decay, a constant rate, little momentum (DCGAN, section 4)."""
    return OptimizerConfig(
        lr=lr, betas=(beta1, beta2), weight_decay=0.0, warmup_steps=0, schedule="constant", clip_norm=100.0
    )


@dataclass(frozen=True, kw_only=True)
class GANRecipe(Recipe):
    """A step is the critic's; the generator takes its own in every `critic_steps`-th.

    A generator has `fakes(label, rng)`; of its labels one without classes only takes the number.
    """

    optimizer: OptimizerConfig = field(default_factory=lambda: adam(1e-3))
    critic_optimizer: OptimizerConfig = field(default_factory=lambda: adam(1e-3))
    game: Game = field(default_factory=NonSaturating)
    critic_steps: int = 1
    augment: tuple[str, ...] = ()  # of pictures: colour, translation, cutout
    batch_size: int = 32

    @abstractmethod
    def generator(self) -> nn.Module: ...

    @abstractmethod
    def critic(self) -> nn.Module: ...

    def real(self, batch: Batch) -> Tensor:
        """What fakes are to be like."""
        return batch["image"]

    def asked(self, critic: nn.Module, batch: Batch, rng: torch.Generator) -> Callable[[Tensor], Tensor]:
        """The critic as the game asks it."""
        return lambda x: critic(augmented(x, self.augment, rng) if self.augment else x)

    def figures(self, model: nn.Module) -> dict[str, Tensor]:
        """What validation reports beside the losses."""
        return {}

    def networks(self) -> dict[str, nn.Module]:
        return {"model": self.generator(), "critic": self.critic()}

    def objectives(self, networks: Networks) -> tuple[Objective, ...]:
        return (
            Objective("critic", ("critic",), self.judge, self.critic_optimizer),
            Objective("model", ("model",), self.deceive, self.optimizer),
        )

    def judge(self, networks: Networks, batch: Batch, rng: torch.Generator) -> dict[str, Tensor]:
        critic = networks["critic"]
        self.game.confine(critic)
        with torch.no_grad():
            fake = fakes(networks["model"], batch, rng)
        return self.game.judge(self.asked(critic, batch, rng), self.real(batch), fake, rng)

    def deceive(self, networks: Networks, batch: Batch, rng: torch.Generator) -> dict[str, Tensor]:
        model, critic = networks["model"], networks["critic"]
        if model.training and (int(batch["step"][0]) + 1) % self.critic_steps:
            return waiting()
        self.game.confine(critic)
        loss = self.game.deceive(self.asked(critic, batch, rng), fakes(model, batch, rng))
        return {"loss": loss, **({} if model.training else self.figures(model))}


def fakes(model: nn.Module, batch: Batch, rng: torch.Generator) -> Tensor:
    return cast(Callable[[Tensor, torch.Generator], Tensor], model.fakes)(batch["label"], rng)
