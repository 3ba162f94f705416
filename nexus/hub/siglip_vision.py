"""SigLIP's vision encoder from a `transformers` folder: what Stable Diffusion 3.5's IP-Adapter sees of a picture."""

from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from nexus.media.image import Image
from nexus.text.encoders import read_encoder


class SiglipEncoder:
    """Pictures to the states [B, S, V] of the last layer but one."""

    def __init__(self, encoder: nn.Module):
        self.encoder = encoder.eval().requires_grad_(False)
        self.size: int = encoder.config.image_size  # type: ignore[union-attr, assignment]

    def to(self, *args, **kwargs) -> "SiglipEncoder":
        self.encoder.to(*args, **kwargs)
        return self

    @torch.no_grad()
    def __call__(self, pictures: list[Image], *, hidden: bool = True) -> Tensor:
        pixels = torch.stack([pixels_of(picture, self.size) for picture in pictures])
        return self.encoder(pixels.to(next(self.encoder.parameters())), output_hidden_states=True).hidden_states[-2]


def load_siglip(folder: Path) -> SiglipEncoder:
    from transformers import SiglipVisionModel

    return SiglipEncoder(read_encoder(SiglipVisionModel, folder))


def pixels_of(picture: Image, size: int) -> Float[Tensor, "3 H H"]:
    """Squeezed to a square (bicubic), from -1 to 1."""
    import PIL.Image

    pil = PIL.Image.fromarray(picture.over_white().pixels).resize((size, size), PIL.Image.Resampling.BICUBIC)
    return torch.from_numpy(np.asarray(pil).transpose(2, 0, 1).astype(np.float32) / 127.5 - 1)
