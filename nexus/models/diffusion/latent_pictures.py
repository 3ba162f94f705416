"""How systems that diffuse latents paint, once their networks are told what to: the walk, and the pictures at its end.

Axes: B batch, D latent channels, H height, W width.
"""

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from nexus.codecs.banded import decode_large
from nexus.codecs.image_vae import ImageVAE
from nexus.codecs.stills import Stills
from nexus.media.image import Image
from nexus.models.diffusion.latent_start import Start
from nexus.models.diffusion.request import Asked
from nexus.process.diffusion import DataField
from nexus.process.inpainting import inpainted
from nexus.process.levels import Path
from nexus.process.step_cache import step_cached
from nexus.process.walk import Progress, walked

Codec = ImageVAE | Stills


def painted(
    vae: Codec, asked: Asked, start: Start, path: Path, field: DataField, progress: Progress | None
) -> Image | list[Image]:
    """The pictures that are asked for, at the end of a path; where a start keeps something, it is kept."""
    if start.kept is not None and start.mask is not None:
        shown = None if start.shown is None else (path[0], start.shown)
        field = inpainted(field, start.kept, start.mask, shown)
    states = asked.solve(step_cached(field, path, asked.cache), start.state, path, asked.rngs)
    latents = start.finished(walked(states, len(path) - 1, progress))
    return asked.given(decoded(vae, latents, asked.cut))


def decoded(vae: Codec, latents: Float[Tensor, "B D H W"], cut: tuple[int, int] | None = None) -> list[Image]:
    """Pictures, made one by one so that memory does not grow with the batch; large ones in bands.

    Args:
        cut: the height and width that they are scaled to cover, and cut to around their middle.
    """
    pictures = (decode_large(vae, vae.unscaled(latent[None])) for latent in latents)
    return [Image.from_tensor((picture if cut is None else covering(picture, cut))[0]) for picture in pictures]


def covering(picture: Float[Tensor, "B C Y X"], size: tuple[int, int]) -> Float[Tensor, "B C H W"]:
    """Scaled so that it just covers that size, and cut to it around its middle."""
    height, width = picture.shape[2:]
    ratio = max(size[0] / height, size[1] / width)
    scaled = F.interpolate(picture, size=(int(height * ratio), int(width * ratio)), mode="bilinear")
    top, left = (scaled.shape[2] - size[0]) // 2, (scaled.shape[3] - size[1]) // 2
    return scaled[:, :, top : top + size[0], left : left + size[1]]
