"""What recipes of diffusion on the digits share: the data, a U-Net that a CPU trains in minutes, a sheet to look at."""

import inspect
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from nexus.data.digits import N_CLASSES, DigitBatches
from nexus.media.image import Image
from nexus.media.sheet import contact_sheet
from nexus.models.diffusion.unet import UNetConfig
from nexus.nn.checkpoint import save_folder
from nexus.training.recipe import Batch, BatchStream, LoopConfig, Networks, Objective, OptimizerConfig, Recipe

SIDE = 8  # pixels, the digits' own size


def small_unet(n_classes: int | None = None) -> UNetConfig:
    """ADM's blocks at 8 and 4 pixels, half a million parameters."""
    return UNetConfig(
        in_channels=1,
        out_channels=1,
        dims=(24, 48),
        n_blocks=1,
        attention=(False, True),
        norm_groups=8,
        norm_eps=1e-5,
        n_classes=n_classes,
        time_order="cos_sin",
        time_shift=0.0,
        time_scales=True,
        resample="block",
    )


@dataclass(frozen=True, kw_only=True)
class DigitsRecipe(Recipe):
    """A recipe of this kind builds a model with a config, `loss(batch, generator)` and `generate`."""

    kind: ClassVar[str]  # of the weights folder

    loop: LoopConfig = LoopConfig(
        steps=1200, ema_decay=0.995, log_every=50, save_every=400, sample_every=600, validate_every=300
    )
    optimizer: OptimizerConfig = OptimizerConfig(lr=2e-3, warmup_steps=50, weight_decay=0.0)
    batch_size: int = 64

    def build(self) -> Any:
        """The model before its first step; recipes that start from another's say `networks` instead."""
        raise NotImplementedError(f"{type(self).__name__} says neither `build` nor `networks`")

    def networks(self) -> dict[str, nn.Module]:
        return {"model": self.build()}

    def objectives(self, networks: Networks) -> tuple[Objective, ...]:
        return (Objective(self.kind, ("model",), self.loss, self.optimizer),)

    def loss(self, networks: Networks, batch: Batch, rng: torch.Generator) -> dict[str, Tensor]:
        model: Any = networks["model"]
        return model.loss(batch, rng)

    def dataset(self, split: Literal["train", "valid"]) -> BatchStream:
        return DigitBatches(split, batch_size=self.batch_size, seed=self.loop.seed, size=SIDE)

    def samples(self, model: nn.Module, step: int) -> dict[str, Image]:
        """Six rows of the ten classes, or sixty of a model that knows none."""
        drawn: Any = model
        classes = [i % N_CLASSES for i in range(6 * N_CLASSES)]
        knows = next(iter(inspect.signature(drawn.generate).parameters)) == "classes"
        pictures = drawn.generate(classes if knows else len(classes), seed=0)
        return {"digits": contact_sheet(pictures, N_CLASSES, scale=4)}

    def export(self, model: nn.Module, folder: Path) -> None:
        save_folder(model, folder, kind=self.kind, config=model.config)
