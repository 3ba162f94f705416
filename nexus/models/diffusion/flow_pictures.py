"""How Stable Diffusion 3, FLUX and PixArt paint: from noise, from a picture, or into a part of one.

Axes: B batch, D latent channels, H height, W width.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from nexus.codecs.image_vae import ImageVAE
from nexus.codecs.stills import Stills
from nexus.media.image import Image
from nexus.models.diffusion.latent_pictures import Progress, decoded, walked
from nexus.models.diffusion.latent_start import Beginner, Start
from nexus.process.diffusion import Network, Prediction, data_field
from nexus.process.inpainting import inpainted
from nexus.process.levels import Path
from nexus.process.named import NamedSolver

SOLVERS = ("euler", "euler-ancestral", "dpmpp-2m", "dpmpp-2m-sde", "unipc")


@dataclass(frozen=True, kw_only=True)
class Painting:
    """What is painted, checked already: `path` begins where `image`, if there is one, is left to be changed."""

    vae: ImageVAE | Stills
    size: tuple[int, int]  # height and width in pixels
    path: Path
    image: Image | None = None
    mask: Image | None = None  # white where the picture is painted anew
    prediction: Prediction = "flow"

    def paint(
        self,
        network: Network,
        solve: NamedSolver,
        rngs: list[torch.Generator],
        like: Tensor,
        progress: Progress | None,
    ) -> list[Image]:
        """The pictures, one for each of `rngs`, computed in the device and dtype of `like`."""
        start, field = self.start(rngs, like), data_field(network, self.prediction)
        if start.kept is not None and start.mask is not None:
            field = inpainted(field, start.kept, start.mask)
        states = solve(field, start.state, self.path, rngs)
        return decoded(self.vae, walked(states, len(self.path) - 1, progress))

    def start(self, rngs: list[torch.Generator], like: Tensor) -> Start:
        """Noise, or the picture noised to the first level."""
        begin = Beginner(vae=self.vae, size=self.size, level=self.path[0], noise_scale=1.0, rngs=rngs, like=like)
        if self.image is None:
            return begin.from_noise()
        if self.mask is None:
            return begin.from_image(self.image)
        return begin.inpainting(self.image, self.mask, whole_path=False)
