"""A latent consistency model of the digits: `digits-classes`, guidance included, in one to four steps.

nexus train digits-classes && nexus train digits-lcm
"""

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor, nn

from nexus.hub.load import load
from nexus.models.diffusion.conditional_diffusion import ConditionalDiffusion
from nexus.models.diffusion.lcm import LCM, LCMConfig
from nexus.training.digits import DigitsRecipe
from nexus.training.recipe import Batch, Networks


@dataclass(frozen=True, kw_only=True)
class DigitsLCM(DigitsRecipe):
    kind: ClassVar[str] = "lcm"

    name: str = "digits-lcm"
    teacher: str = "runs/digits-classes/weights"
    guidance_range: tuple[float, float] = (1.0, 4.0)

    def networks(self) -> dict[str, nn.Module]:
        """The student starts as its teacher."""
        teacher = load(self.teacher, device="cpu")
        if not isinstance(teacher, ConditionalDiffusion):
            raise ValueError(f"the teacher must be a ConditionalDiffusion, and {self.teacher} is not")
        config = LCMConfig(teacher=teacher.config, guidance_dim=64, guidance_range=self.guidance_range)
        model = LCM(config)
        model.network.load_state_dict(teacher.network.state_dict())
        return {"model": model, "teacher": teacher}

    def loss(self, networks: Networks, batch: Batch, rng: torch.Generator) -> dict[str, Tensor]:
        model, teacher = networks["model"], networks["teacher"]
        assert isinstance(model, LCM) and isinstance(teacher, ConditionalDiffusion)
        return model.loss(batch, rng, teacher=teacher)


recipe = DigitsLCM()
recipe = replace(recipe, loop=replace(recipe.loop, steps=300), optimizer=replace(recipe.optimizer, lr=1e-3))
