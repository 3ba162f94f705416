"""Pictures as sequences of square patches (ViT, arXiv:2010.11929), and back.

Axes: B batch, C channels, H height, W width, T patches (row by row), P values of a patch, D width.
"""

from functools import lru_cache

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from nexus.nn.embed import sincos_2d


def to_patches(x: Float[Tensor, "B C H W"], size: int) -> Float[Tensor, "B T P"]:
    """Squares of size x size pixels, each with its channels outermost."""
    return rearrange(x, "b c (h p) (w q) -> b (h w) (c p q)", p=size, q=size)


def from_patches(patches: Float[Tensor, "B T P"], rows: int, size: int) -> Float[Tensor, "B C H W"]:
    """The inverse of `to_patches`, for `rows` patches from top to bottom."""
    return rearrange(patches, "b (h w) (c p q) -> b c (h p) (w q)", h=rows, p=size, q=size)


def from_pixels(patches: Float[Tensor, "B T P"], rows: int, size: int) -> Float[Tensor, "B C H W"]:
    """The same for patches with their channels innermost, as DiT and its kin write them."""
    return rearrange(patches, "b (h w) (p q c) -> b c (h p) (w q)", h=rows, p=size, q=size)


class PatchEmbed(nn.Module):
    """A vector for each patch; the weight of the usual convolution is this one's, with its last axes flattened."""

    def __init__(self, in_channels: int, dim: int, size: int):
        super().__init__()
        self.size = size
        self.proj = nn.Linear(in_channels * size * size, dim)

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B T D"]:
        """Raises ValueError for sides that patches do not fill."""
        if x.shape[2] % self.size or x.shape[3] % self.size:
            nearest = [max(round(side / self.size), 1) * self.size for side in x.shape[2:]]
            raise ValueError(
                f"height and width must be multiples of {self.size}, got {list(x.shape[2:])}; nearest is {nearest}"
            )
        return F.linear(to_patches(x, self.size), self.proj.weight, self.proj.bias)


@lru_cache(maxsize=8)
@torch.inference_mode(False)
def grid_positions(
    dim: int, rows: int, columns: int, *, base: int, stretch: float = 1.0, device: torch.device | str = "cpu"
) -> Float[Tensor, "T D"]:
    """Sine-cosine positions of a grid whose axes both have the length `base / stretch`, however many patches are on it.

    So a network that was trained on a grid of `base` patches meets no position beyond those it knows. Kept from call to
    call, as samplers ask at each step: do not write into it.
    """
    with torch.device("cpu"):
        axes = (torch.arange(n, dtype=torch.float32) / (n / base) / stretch for n in (rows, columns))
        return sincos_2d(dim, *axes).to(device)
