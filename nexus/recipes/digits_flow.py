"""Flow matching on the digits, asked for a class.

nexus train digits-flow
"""

from dataclasses import dataclass, replace
from typing import ClassVar, Literal

from nexus.data.digits import N_CLASSES
from nexus.models.diffusion.flow_matching import FlowMatching, FlowMatchingConfig
from nexus.training.digits import SIDE, DigitsRecipe, small_unet


@dataclass(frozen=True, kw_only=True)
class DigitsFlow(DigitsRecipe):
    kind: ClassVar[str] = "flow-matching"

    name: str = "digits-flow"
    times: Literal["uniform", "logit-normal"] = "uniform"

    def build(self) -> FlowMatching:
        return FlowMatching(FlowMatchingConfig(network=small_unet(N_CLASSES + 1), size=(SIDE, SIDE), times=self.times))


recipe = DigitsFlow()
recipe = replace(recipe, loop=replace(recipe.loop, steps=600))
