"""What Stable Diffusion 3, FLUX and PixArt are told at every step, and what adapters may add to it.

Axes: B batch, S text tokens, E width of their states, P width of their summary.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from jaxtyping import Bool, Float, Num
from torch import Tensor, nn

from nexus.codecs.image_vae import ImageVAE
from nexus.codecs.stills import Stills
from nexus.models.diffusion.request import Asked
from nexus.nn.beside import Beside, together
from nexus.process.levels import Path


@dataclass(frozen=True, kw_only=True)
class Brief:
    """With guidance the second half of the batch is of what is not wanted.

    Adapters return another one, with more in `besides`: functions of x_t and the time. They may look at what is asked
    for (how many pictures, of what size), at which levels, and at the network that is told.
    """

    network: nn.Module
    vae: ImageVAE | Stills
    asked: Asked
    path: Path
    text: Float[Tensor, "B S E"]
    summary: Float[Tensor, "B P"] | None = None
    text_mask: Bool[Tensor, "B S"] | None = None
    sizes: Float[Tensor, "B 2"] | None = None  # height and width, for networks that are told them
    guidance: Float[Tensor, " B"] | None = None  # the scale, for networks that are told it
    besides: tuple[Callable[[Tensor, Tensor], Beside], ...] = ()

    def beside(self, x_t: Float[Tensor, "B C H W"], time: Num[Tensor, " B"]) -> Beside:
        """What all adapters add at this time."""
        return together([beside(x_t, time) for beside in self.besides])

    def heard(self, adapters: Iterable["Adapter"]) -> "Brief":
        """With what adapters add to it, in turn."""
        brief = self
        for adapter in adapters:
            brief = adapter(brief)
        return brief


Adapter = Callable[[Brief], Brief]
