"""Finite scalar quantisation (arXiv:2309.15505): each number of a latent is bounded and rounded to one of few levels.

No codebook is learnt: the codes of a frame are the places of its numbers, read as digits, the least significant
first, of a number in mixed base. A latent is split into groups of channels, one code each.
Axes: B batch, D width (G groups of N numbers), T frames, K codes (one a group).
"""

import math
from dataclasses import dataclass

import torch
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor, nn

from nexus.nn.quantize import Quantized


@dataclass(frozen=True, kw_only=True)
class FSQConfig:
    n_groups: int = 8
    levels: tuple[int, ...] = (8, 5, 5, 5)  # of each number of a group
    margin: float = 1e-3  # the outermost levels are this share nearer, so that rounding can't leave the range

    def __post_init__(self):
        if self.n_groups < 1 or not self.levels or min(self.levels) < 2:
            raise ValueError(f"there must be a group, and levels of at least 2, got {self.n_groups} and {self.levels}")
        if self.codebook_size > 2**31:
            raise ValueError(f"a code of levels {self.levels} does not fit into 31 bits")

    @property
    def dim(self) -> int:
        return self.n_groups * len(self.levels)

    @property
    def codebook_size(self) -> int:
        return math.prod(self.levels)


class FiniteScalarQuantizer(nn.Module):
    """Has no parameters; a number x of level count L goes to round(s tanh(x + shift) - o) / (L // 2).

    s is (L - 1) / 2 less the margin; o is 1/2 for even L, whose levels are not symmetric; the shift, tan(o / s), takes
    zero near zero (section 3.1 and appendix A.1).
    """

    levels: Tensor
    places: Tensor

    def __init__(self, config: FSQConfig):
        super().__init__()
        self.config = config
        levels = torch.tensor(config.levels)
        places = [math.prod(config.levels[:n]) for n in range(len(config.levels))]
        self.register_buffer("levels", levels[:, None], persistent=False)  # [N, 1], along [B, G, N, T]
        self.register_buffer("places", torch.tensor(places)[:, None], persistent=False)

    def bounded(self, x: Float[Tensor, "B G N T"]) -> Float[Tensor, "B G N T"]:
        """Numbers whose rounding gives the levels, from -(L // 2) to (L - 1) // 2."""
        scale = (self.levels - 1) / 2 * (1 - self.config.margin)
        offset = (self.levels % 2 == 0) * 0.5
        return scale * (x + (offset / scale).tan()).tanh() - offset

    def forward(self, latent: Float[Tensor, "B D T"]) -> Quantized:
        """Gradients pass the rounding straight through; there is nothing to commit to."""
        bounded = self.bounded(rearrange(latent.float(), "b (g n) t -> b g n t", g=self.config.n_groups))
        digits = bounded + (bounded.round() - bounded).detach()
        vectors = rearrange(digits / (self.levels // 2), "b g n t -> b (g n) t")
        codes = self._packed(digits.detach())
        return Quantized(vectors.to(latent.dtype), codes, vectors.new_zeros(()), self._perplexity(codes))

    def encode(self, latent: Float[Tensor, "B D T"]) -> Int[Tensor, "B K T"]:
        x = rearrange(latent.float(), "b (g n) t -> b g n t", g=self.config.n_groups)
        return self._packed(self.bounded(x).round())

    def decode(self, codes: Int[Tensor, "B K T"]) -> Float[Tensor, "B D T"]:
        """Raises: ValueError: another number of codebooks, or a code out of range."""
        n_groups, size = self.config.n_groups, self.config.codebook_size
        if codes.shape[1] != n_groups:
            raise ValueError(f"each of the {n_groups} codebooks holds channels of its own, got {codes.shape[1]}")
        if codes.numel() and not 0 <= int(codes.min()) <= int(codes.max()) < size:
            raise ValueError(f"codes must be 0 to {size - 1}, got {int(codes.min())} to {int(codes.max())}")
        digits = codes[:, :, None] // self.places % self.levels - self.levels // 2  # [B, G, N, T]
        return rearrange(digits / (self.levels // 2), "b g n t -> b (g n) t")

    def _packed(self, digits: Float[Tensor, "B G N T"]) -> Int[Tensor, "B K T"]:
        return ((digits.long() + self.levels // 2) * self.places).sum(2)

    def _perplexity(self, codes: Int[Tensor, "B K T"]) -> Float[Tensor, " K"]:
        """How many codes of each codebook are in use."""
        counts = [torch.bincount(row.flatten(), minlength=self.config.codebook_size) for row in codes.unbind(1)]
        shares = torch.stack(counts) / max(codes.shape[0] * codes.shape[2], 1)
        return torch.special.entr(shares).sum(-1).exp()
