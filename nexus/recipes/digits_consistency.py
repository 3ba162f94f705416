"""A consistency model of the digits, distilled from `digits-classes`; or, with `teacher=none`, trained alone.

nexus train digits-classes && nexus train digits-consistency
"""

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor, nn

from nexus.data.digits import N_CLASSES
from nexus.hub.load import load
from nexus.models.diffusion.conditional_diffusion import ConditionalDiffusion
from nexus.models.diffusion.consistency_model import ConsistencyModel, ConsistencyModelConfig
from nexus.training.batches import Counted
from nexus.training.digits import SIDE, DigitsRecipe, small_unet
from nexus.training.recipe import Batch, BatchStream, Networks


@dataclass(frozen=True, kw_only=True)
class DigitsConsistency(DigitsRecipe):
    kind: ClassVar[str] = "consistency-model"

    name: str = "digits-consistency"
    teacher: str = "runs/digits-classes/weights"  # none: consistency training
    guidance_scale: float = 2.0  # of the teacher
    levels: tuple[int, int] = (10, 80)  # when trained alone: doubled as training goes on (arXiv:2310.14189, eq. 11)

    def build(self) -> ConsistencyModel:
        config = ConsistencyModelConfig(network=small_unet(N_CLASSES), size=(SIDE, SIDE), steps=2)
        return ConsistencyModel(config)

    @property
    def distils(self) -> bool:
        return self.teacher != "none"

    def networks(self) -> dict[str, nn.Module]:
        """A student starts as its teacher, without the class that says nothing."""
        model = self.build()
        if not self.distils:
            return {"model": model}
        teacher = load(self.teacher, device="cpu")
        if not isinstance(teacher, ConditionalDiffusion):
            raise ValueError(f"the teacher must be a ConditionalDiffusion, and {self.teacher} is not")
        state = teacher.network.state_dict()
        model.network.load_state_dict(state | {"class_embed.weight": state["class_embed.weight"][:N_CLASSES]})
        return {"model": model, "teacher": teacher}

    def dataset(self, split) -> BatchStream:
        return Counted(super().dataset(split))

    def loss(self, networks: Networks, batch: Batch, rng: torch.Generator) -> dict[str, Tensor]:
        model, teacher = networks["model"], networks.get("teacher")
        assert isinstance(model, ConsistencyModel)
        if not isinstance(teacher, ConditionalDiffusion):
            return model.loss(batch, rng, n_levels=self.n_levels(int(batch["step"][0])))

        def estimate(x: Tensor, sigma: Tensor) -> Tensor:
            return teacher.at_noise_levels(x, sigma, batch["label"], self.guidance_scale)

        return model.loss(batch, rng, teacher=estimate)

    def n_levels(self, step: int) -> int:
        """Doubled at even times until the last."""
        first, last = self.levels
        doublings = (last // first).bit_length()
        return min(first * 2 ** (step * doublings // self.loop.steps), last) + 1


recipe = DigitsConsistency()
recipe = replace(recipe, loop=replace(recipe.loop, steps=350), optimizer=replace(recipe.optimizer, lr=1e-3))
