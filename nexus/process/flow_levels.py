"""Noise levels of straight flows, shifted towards noise for large pictures (SD3, arXiv:2403.03206, section 5.3.2).

Networks here tell the way to noise, `noise - data`, at times from 0 (data) to 1000 (noise).
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from nexus.process.diffusion import Network
from nexus.process.flow import flow_loss, logit_normal
from nexus.process.levels import Path, flow_sigmas, shift_for, shifted, straight

MOST_STEPS = 1000


@dataclass(frozen=True, kw_only=True)
class FlowLevels:
    """The defaults are Stable Diffusion 3's."""

    shift: float = 3.0  # of pictures of every size, unless it grows
    growth: tuple[float, float] | None = None  # logarithms of the shifts at `tokens`, with a line through them (FLUX)
    tokens: tuple[int, int] = (256, 4096)

    def __post_init__(self):
        if self.growth is None and self.shift <= 0:
            raise ValueError(f"shift must be above 0 (1 changes nothing), got {self.shift:g}")

    def shift_at(self, n_tokens: int) -> float:
        """The shift for a picture of so many tokens."""
        return self.shift if self.growth is None else shift_for(n_tokens, *self.tokens, *self.growth)

    @property
    def least(self) -> float:
        """The lowest level before shifting; where all sizes are shifted alike SD3's scheduler shifts it twice."""
        return 1 / MOST_STEPS if self.growth else shifted([1 / MOST_STEPS], self.shift)[0]

    def path(self, steps: int, n_tokens: int, least: float | None = None) -> Path:
        """`steps` levels from noise down to `least`, evenly spaced and then shifted; then the data."""
        sigmas = flow_sigmas(steps, MOST_STEPS, self.least if least is None else least)
        return straight(shifted(sigmas, self.shift_at(n_tokens)))


def shifted_flow_loss(
    network: Network,
    data: Float[Tensor, " B *axes"],
    shift: float | int,
    generator: torch.Generator,
    weight: Callable[[Tensor], Tensor | None] = lambda sigma: None,
) -> Float[Tensor, " B"]:
    """Error of a network at logit-normal times (section 3.1), shifted as sampling's are.

    Args:
        weight: what each element counts at each item's level sigma [B].
    """
    noise = torch.randn(data.shape, generator=generator).to(data)
    sigma = torch.tensor(shifted(logit_normal(len(data), generator).tolist(), shift)).to(data)

    def velocity(x_t: Tensor, t: Tensor) -> Tensor:  # the way to data
        return -network(x_t, (1 - t) * MOST_STEPS)

    return flow_loss(velocity, data, noise, 1 - sigma, weight=weight(sigma))
