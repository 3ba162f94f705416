"""GANs of stacked digits, where it can be counted how many of a thousand kinds a generator makes.

`TEACHERS` are DCGAN's game and the remedies for mode collapse, all on the same networks:
`nexus train stacked-gan/wgan-gp`; `nexus train stacked-gan` has R1. No weights come along.
"""

from dataclasses import dataclass, field, replace
from typing import Literal

import torch
from torch import Tensor, nn

from nexus.data.stacked_digits import N_KINDS, StackedDigits
from nexus.metrics.evaluate_stacked import kinds_seen
from nexus.metrics.modes import divergence_from_even, kinds_covered
from nexus.models.gan.base_gan import BaseGANConfig
from nexus.process.gan import Game, NonSaturating, PenalisedWasserstein
from nexus.recipes.digits_gan import DigitsGAN
from nexus.training.batches import Counted
from nexus.training.gan import adam
from nexus.training.recipe import BatchStream, LoopConfig

SHOWN = 2000  # pictures that kinds are counted among in validation


@dataclass(frozen=True, kw_only=True)
class StackedGAN(DigitsGAN):
    name: str = "stacked-gan"
    loop: LoopConfig = LoopConfig(
        steps=4000, ema_decay=0.995, log_every=100, validate_every=2000, validation_batches=1, save_every=2000
    )
    model: BaseGANConfig = field(
        default_factory=lambda: BaseGANConfig(channels=3, latent_dim=32, dims=(64, 32), start=2)
    )
    game: Game = field(default_factory=lambda: NonSaturating(r1_weight=1.0))
    norm: Literal["batch", "layer", "spectral", "none"] = "none"
    critic_dims: tuple[int, ...] = (8, 16)  # a quarter of the generator's mirror: so collapse was shown

    def dataset(self, split: Literal["train", "valid"]) -> BatchStream:
        seed = 2 * self.loop.seed + (split == "valid")
        return Counted(StackedDigits(split, self.batch_size, seed, self.model.size))

    @torch.no_grad()
    def figures(self, model: nn.Module) -> dict[str, Tensor]:
        kinds = kinds_seen(self.shown(model)[0].fakes(torch.zeros(SHOWN).long(), torch.Generator().manual_seed(0)))
        return {
            "kinds": torch.tensor(float(kinds_covered(kinds, N_KINDS))),
            "divergence": torch.tensor(divergence_from_even(kinds, N_KINDS)),
        }


recipe = StackedGAN()
TEACHERS = {
    "batch-norm": replace(recipe, name="stacked-gan-batch-norm", game=NonSaturating(), norm="batch"),  # DCGAN as it is
    "plain": replace(recipe, name="stacked-gan-plain", game=NonSaturating()),
    "r1": recipe,
    "spectral": replace(recipe, name="stacked-gan-spectral", game=NonSaturating(), norm="spectral"),
    "augmented": replace(recipe, name="stacked-gan-augmented", game=NonSaturating(), augment=("translation", "cutout")),
    "wgan-gp": replace(
        recipe,
        name="stacked-gan-wgan-gp",
        game=PenalisedWasserstein(),
        critic_steps=5,
        optimizer=adam(1e-3, 0.0, 0.9),
        critic_optimizer=adam(1e-3, 0.0, 0.9),
    ),
}
