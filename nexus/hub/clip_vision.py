"""CLIP's vision encoder from a `transformers` folder: what an IP-Adapter sees of a picture."""

from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from nexus.media.image import Image
from nexus.text.encoders import read_encoder

# Means and deviations of red, green and blue in CLIP's training pictures (arXiv:2103.00020's code).
_MEAN = torch.tensor([0.48145466, 0.4578275, 0.40821073])[:, None, None]
_DEVIATION = torch.tensor([0.26862954, 0.26130258, 0.27577711])[:, None, None]


class PictureEncoder:
    """Pictures to an embedding of each [B, V], or to the states [B, S, V] of the last layer but one."""

    def __init__(self, encoder: nn.Module):
        self.encoder = encoder.eval().requires_grad_(False)
        config = encoder.config
        self.size: int = config.image_size  # type: ignore[union-attr, assignment]
        self.dim: int = config.projection_dim  # type: ignore[union-attr, assignment]
        self.hidden_dim: int = config.hidden_size  # type: ignore[union-attr, assignment]

    def to(self, *args, **kwargs) -> "PictureEncoder":
        self.encoder.to(*args, **kwargs)
        return self

    @torch.no_grad()
    def __call__(self, pictures: list[Image], *, hidden: bool) -> Tensor:
        return self._see(torch.stack([pixels_of(picture, self.size) for picture in pictures]), hidden)

    @torch.no_grad()
    def nothing(self, *, hidden: bool) -> Tensor:
        """What guidance goes away from: a zero embedding, or the states of a picture of zeros."""
        if not hidden:
            return torch.zeros(1, self.dim)
        return self._see(torch.zeros(1, 3, self.size, self.size), hidden)

    def _see(self, pixels: Float[Tensor, "B 3 H H"], hidden: bool) -> Tensor:
        parameter = next(self.encoder.parameters())
        out = self.encoder(pixels.to(parameter), output_hidden_states=hidden)
        return out.hidden_states[-2] if hidden else out.image_embeds


def load_picture_encoder(folder: Path) -> PictureEncoder:
    from transformers import CLIPVisionModelWithProjection

    return PictureEncoder(read_encoder(CLIPVisionModelWithProjection, folder))


def pixels_of(picture: Image, size: int) -> Float[Tensor, "3 H H"]:
    """The shorter side becomes `size` (bicubic), and the middle is cut out."""
    import PIL.Image

    pil = PIL.Image.fromarray(picture.over_white().pixels)
    short = min(pil.size)
    width, height = (int(size * side / short) for side in pil.size)
    left, top = (width - size) // 2, (height - size) // 2
    pil = pil.resize((width, height), PIL.Image.Resampling.BICUBIC).crop((left, top, left + size, top + size))
    values = torch.from_numpy(np.asarray(pil).transpose(2, 0, 1).astype(np.float32) / 255)
    return (values - _MEAN) / _DEVIATION
