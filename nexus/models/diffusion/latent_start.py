"""Where the walk over latents begins: noise, a noised picture, or a picture of which a part is painted anew.

Random numbers are drawn in the order of diffusers' pipelines, item by item, so that seeds mean the same there.
Axes: B batch, D latent channels, H height, W width.
"""

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from nexus.codecs.banded import encode_large
from nexus.codecs.image_vae import ImageVAE
from nexus.codecs.stills import Stills
from nexus.media.image import Image
from nexus.models.diffusion.request import Asked, mask_of
from nexus.process.levels import Level
from nexus.process.noise import gaussian

Rngs = list[torch.Generator]
Latents = Float[Tensor, "B D H W"]


@dataclass(frozen=True)
class Start:
    """The first state; `kept` and `mask` (1 where painted) for a model that does not inpaint by itself, and what it is
    shown at first where the picture is kept; `beside`, what one that does sees beside each state."""

    state: Latents
    kept: Latents | None = None
    mask: Float[Tensor, "1 1 H W"] | None = None
    shown: Latents | None = None
    beside: Float[Tensor, "B E H W"] | None = None

    def finished(self, latents: Latents) -> Latents:
        """With what is kept as it was: some paths end a little before the data."""
        if self.kept is None or self.mask is None:
            return latents
        return self.mask * latents + (1 - self.mask) * self.kept


def began(
    vae: ImageVAE | Stills,
    asked: Asked,
    level: Level,
    like: Tensor,
    *,
    noise_scale: float = 1.0,
    sees_mask: bool = False,
) -> Start:
    """Noise, the picture noised to the level, or the same of a part, computed in the device and dtype of `like`."""
    begin = Beginner(vae, asked.size, level, noise_scale, asked.rngs, like)
    if asked.image is None:
        return begin.from_noise()
    if asked.mask is None:
        return begin.from_image(asked.image)
    inpaint = begin.inpainting_beside if sees_mask else begin.inpainting
    return inpaint(asked.image, asked.mask, whole_path=asked.strength == 1)


@dataclass(frozen=True)
class Beginner:
    """Makes starts for pictures of one size.

    Args:
        level: of the first state.
        noise_scale: of the noise that a whole path begins with (`StepLevels.noise_scale`).
    """

    vae: ImageVAE | Stills
    size: tuple[int, int]
    level: Level
    noise_scale: float
    rngs: Rngs
    like: Tensor

    def from_noise(self) -> Start:
        return Start(self.noise_scale * self._noise())

    def from_image(self, image: Image) -> Start:
        return Start(self._noised(self._latents(self._pixels(image)), self._noise()))

    def inpainting(self, image: Image, mask: Image, whole_path: bool) -> Start:
        """With a model that does not see the mask; a whole path begins with noise where it is painted."""
        data, noise, painted = self._latents(self._pixels(image)), self._noise(), self._mask(mask)
        state = self._noised(data, noise)
        if not whole_path:
            return Start(state, kept=data, mask=painted)
        shown = self.noise_scale * noise
        return Start(painted * shown + (1 - painted) * state, kept=data, mask=painted, shown=shown)

    def inpainting_beside(self, image: Image, mask: Image, whole_path: bool) -> Start:
        """With a model that sees the mask and the latents of what is kept."""
        pixels = self._pixels(image)
        start = self.from_noise() if whole_path else self.from_image(image)
        hole = mask_of(mask)[None].to(pixels)
        kept = self._latents(pixels * (1 - hole))
        seen = self._mask(mask).expand(len(self.rngs), -1, -1, -1)
        return replace(start, beside=torch.cat([seen, kept], dim=1))

    def _noise(self) -> Latents:
        ratio = self.vae.config.spatial_compression_ratio
        shape = (self.vae.config.latent_channels, self.size[0] // ratio, self.size[1] // ratio)
        return gaussian(shape, self.rngs, device=self.like.device, dtype=self.like.dtype)

    def _noised(self, data: Latents, noise: Latents) -> Latents:
        return self.level.alpha * data + self.level.sigma * noise

    def _latents(self, pixels: Float[Tensor, "1 3 Y X"]) -> Latents:
        return self.vae.scaled(encode_large(self.vae, pixels).sample(self._noise()))

    def _pixels(self, image: Image) -> Float[Tensor, "1 3 Y X"]:
        pixels = image.over_white()
        if (image.height, image.width) != self.size:
            pixels = pixels.resize(*self.size)
        return pixels.tensor()[None].to(self.like)

    def _mask(self, mask: Image) -> Float[Tensor, "1 1 H W"]:
        ratio = self.vae.config.spatial_compression_ratio
        small = F.interpolate(mask_of(mask)[None], size=(self.size[0] // ratio, self.size[1] // ratio))
        return small.to(self.like)
