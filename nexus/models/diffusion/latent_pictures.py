"""How systems that diffuse latents paint, once their networks are told what to: the walk, and the pictures at its end.

Axes: B batch, D latent channels, H height, W width.
"""

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
from nexus.process.walk import Progress, walked

Codec = ImageVAE | Stills


def painted(
    vae: Codec, asked: Asked, start: Start, path: Path, field: DataField, progress: Progress | None
) -> Image | list[Image]:
    """The pictures that are asked for, at the end of a path; where a start keeps something, it is kept."""
    if start.kept is not None and start.mask is not None:
        shown = None if start.shown is None else (path[0], start.shown)
        field = inpainted(field, start.kept, start.mask, shown)
    states = asked.solve(field, start.state, path, asked.rngs)
    return asked.given(decoded(vae, start.finished(walked(states, len(path) - 1, progress))))


def decoded(vae: Codec, latents: Float[Tensor, "B D H W"]) -> list[Image]:
    """Pictures, made one by one so that memory does not grow with the batch; large ones in bands."""
    return [Image.from_tensor(decode_large(vae, vae.unscaled(latent[None]))[0]) for latent in latents]
