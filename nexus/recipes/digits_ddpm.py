"""DDPM on the digits, without classes: the schedule, the prediction and the loss's weights can be set.

nexus train digits-ddpm schedule=linear -o runs/digits-ddpm-linear
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from nexus.models.diffusion.base_diffusion import BaseDiffusion, BaseDiffusionConfig
from nexus.process.diffusion import Prediction
from nexus.training.digits import SIDE, DigitsRecipe, small_unet
from nexus.training.recipe import Batch, Networks


@dataclass(frozen=True, kw_only=True)
class DigitsDDPM(DigitsRecipe):
    kind: ClassVar[str] = "base-diffusion"

    name: str = "digits-ddpm"
    schedule: Literal["linear", "cosine"] = "cosine"
    prediction: Prediction = "noise"
    min_snr: float = 0.0  # gamma; 0 counts every step alike

    def build(self) -> BaseDiffusion:
        config = BaseDiffusionConfig(
            network=small_unet(),
            schedule=self.schedule,
            prediction=self.prediction,
            min_snr=self.min_snr or None,
            size=(SIDE, SIDE),
            steps=50,
            solver="ddim",
        )
        return BaseDiffusion(config)

    def loss(self, networks: Networks, batch: Batch, rng: torch.Generator) -> dict[str, Tensor]:
        return super().loss(networks, {"image": batch["image"]}, rng)


recipe = DigitsDDPM()
