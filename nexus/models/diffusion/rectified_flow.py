"""Rectified flow and reflow (arXiv:2209.03003): a flow taught on its own pairs of noise and picture becomes straighter.

Paths of a first flow (`FlowMatching`) may not cross, so they bend; the pairs that it makes of noise and picture can be
joined by straight lines that cross less. What learns those walks far in a single step. No official weights.
Axes: B batch, C channels, H height, W width.
"""

from itertools import pairwise

import torch
from jaxtyping import Float, Int
from torch import Tensor

from nexus.models.diffusion.flow_matching import SOLVERS, FlowMatching, FlowMatchingConfig
from nexus.process.flow import Field, euler, last, uniform_times


class RectifiedFlowConfig(FlowMatchingConfig):
    """As the first flow's; sampled by one Euler step, say, and without guidance, which the pairs have in them."""


class RectifiedFlow(FlowMatching):
    """A flow that learns from pairs; sampled as the first."""

    def loss(self, batch: dict[str, Tensor], generator: torch.Generator | None = None) -> dict[str, Tensor]:
        """As the first flow's, between the noise and the picture that belong together.

        Raises:
            ValueError: pictures without the noise that they come from: that would be the first flow again.
        """
        if "noise" not in batch:
            raise ValueError("reflow learns from pairs: give the noise of each image, as `coupled` makes them")
        return super().loss(batch, generator)


@torch.no_grad()
def coupled(
    flow: FlowMatching,
    noise: Float[Tensor, "B C H W"],
    label: Int[Tensor, " B"],
    *,
    steps: int = 25,
    guidance_scale: float = 1.0,
) -> Float[Tensor, "B C H W"]:
    """The pictures that a flow takes these noises to, by Heun's method."""
    return last(SOLVERS["heun"](flow.field(label, guidance_scale), noise, uniform_times(steps)))


@torch.no_grad()
def straightness(field: Field, noise: Float[Tensor, " B *axes"], steps: int = 50) -> Float[Tensor, " B"]:
    """How much the velocity along each path differs from that of its chord (section 3.1's S), over the chord's square.

    0 is a straight path at even speed, which a single Euler step walks exactly.
    """
    states = [noise, *euler(field, noise, uniform_times(steps))]
    chord = states[-1] - noise
    pieces = [steps * (after - before) for before, after in pairwise(states)]
    bends = torch.stack([(piece - chord).square().flatten(1).sum(1) for piece in pieces]).mean(0)
    return bends / chord.square().flatten(1).sum(1)
