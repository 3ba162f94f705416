"""Diffusion on the digits that is asked for a class, guided without a classifier or by the one that it brings.

nexus train digits-classes
"""

from dataclasses import dataclass
from typing import ClassVar

from nexus.data.digits import N_CLASSES
from nexus.models.diffusion.base_diffusion import BaseDiffusionConfig
from nexus.models.diffusion.conditional_diffusion import ConditionalDiffusion, ConditionalDiffusionConfig
from nexus.models.diffusion.noisy_classifier import NoisyClassifierConfig
from nexus.training.digits import SIDE, DigitsRecipe, small_unet


@dataclass(frozen=True, kw_only=True)
class DigitsClasses(DigitsRecipe):
    kind: ClassVar[str] = "conditional-diffusion"

    name: str = "digits-classes"
    drop: float = 0.1  # share of labels that is left out

    def build(self) -> ConditionalDiffusion:
        base = BaseDiffusionConfig(
            network=small_unet(N_CLASSES + 1), schedule="cosine", size=(SIDE, SIDE), steps=50, solver="ddim"
        )
        classifier = NoisyClassifierConfig(dims=(16, 32), n_classes=N_CLASSES)
        return ConditionalDiffusion(ConditionalDiffusionConfig(base=base, drop=self.drop, classifier=classifier))


recipe = DigitsClasses()
