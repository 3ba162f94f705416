"""DCGAN on the digits: the non-saturating game, with any of its remedies set from outside.

No weights come along. `game.r1_weight=1 norm=none` adds R1, `norm=spectral` spectral norm,
`augment=translation` differentiable augmentation.
"""

import copy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from nexus.data.digits import N_CLASSES, SIZE, DigitBatches
from nexus.media.image import Image
from nexus.media.sheet import contact_sheet
from nexus.metrics.digit_judge import digit_classifier
from nexus.metrics.modes import classes_covered
from nexus.models.gan.base_gan import BaseGAN, BaseGANConfig, Discriminator, DiscriminatorConfig, standing_statistics
from nexus.nn.checkpoint import save_folder
from nexus.training.batches import Counted
from nexus.training.gan import GANRecipe
from nexus.training.recipe import BatchStream, LoopConfig


@dataclass(frozen=True, kw_only=True)
class DigitsGAN(GANRecipe):
    name: str = "digits-gan"
    loop: LoopConfig = LoopConfig(
        steps=2000, ema_decay=0.995, log_every=50, validate_every=500, validation_batches=1, save_every=500
    )
    model: BaseGANConfig = field(
        default_factory=lambda: BaseGANConfig(channels=1, latent_dim=32, dims=(64, 32), start=SIZE // 4)
    )
    norm: Literal["batch", "layer", "spectral", "none"] = "batch"
    critic_dims: tuple[int, ...] = (32, 64)

    def generator(self) -> nn.Module:
        return BaseGAN(self.model)

    def critic(self) -> nn.Module:
        return Discriminator(self.critic_config())

    def critic_config(self) -> DiscriminatorConfig:
        size, dims = self.model.size, self.critic_dims
        return DiscriminatorConfig(channels=self.model.channels, size=size, dims=dims, norm=self.norm)

    def dataset(self, split: Literal["train", "valid"]) -> BatchStream:
        batches = DigitBatches(split, batch_size=self.batch_size, seed=self.loop.seed, size=self.model.size)
        return Counted(batches)

    @torch.no_grad()
    def figures(self, model: nn.Module) -> dict[str, Tensor]:
        """Classes among 500 fakes, by the judge of `nexus.metrics`."""
        image = self.shown(model)[0].fakes(torch.arange(500) % N_CLASSES, torch.Generator().manual_seed(0))
        classes = torch.from_numpy(digit_classifier(self.model.size).classify(image))
        return {"classes": torch.tensor(float(classes_covered(classes, N_CLASSES)))}

    def shown(self, model: nn.Module) -> tuple[BaseGAN, bool]:
        """A copy with the statistics of its weights, and whether it knows classes."""
        assert isinstance(model, BaseGAN)
        model = copy.deepcopy(model).eval()
        standing_statistics(model, 640, torch.Generator().manual_seed(0))
        return model, model.config.n_classes is not None

    def samples(self, model: nn.Module, step: int) -> dict[str, Image]:
        shown, knows = self.shown(model)
        labels = [i // 10 for i in range(100)] if knows else None
        return {"digits": contact_sheet(shown.generate(100, labels=labels, seed=0), 10, scale=2)}

    def export(self, model: nn.Module, folder: Path) -> None:
        shown, _ = self.shown(model)
        save_folder(shown, folder, kind=self.kind, config=shown.config)

    @property
    def kind(self) -> str:
        return "base-gan"


recipe = DigitsGAN()
