"""Residual quantisation with factorised, normalised codebooks (Improved VQGAN, arXiv:2110.04627, section 3.2; DAC,
arXiv:2306.06546, section 3.2).

Each codebook looks at its residual through a projection to a few dimensions and takes the code of the nearest
direction (cosine similarity); the code's vector itself, not its direction, is projected back. Codebooks and
projections are trained by gradients: one loss pulls the code to the projected residual, one holds the encoder to it.
Axes: B batch, D width, E width of the codes, T frames, K codebooks, N codebook size.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm as normalised


@dataclass(frozen=True, kw_only=True)
class FactorisedConfig:
    dim: int = 1024
    n_codebooks: int = 9
    codebook_size: int = 1024
    codebook_dim: int = 8
    dropout: float = 0.5  # share of the items that train with a random number of codebooks
    weight_norm: bool = False  # of the projections

    def __post_init__(self):
        if min(self.dim, self.n_codebooks, self.codebook_size, self.codebook_dim) < 1:
            raise ValueError(f"dim, n_codebooks, codebook_size and codebook_dim must be positive, got {self}")
        if not 0 <= self.dropout <= 1:
            raise ValueError(f"dropout is a share of the items, 0 to 1, got {self.dropout}")


class Factorised(NamedTuple):
    """What the quantiser gives: `vectors` pass gradients straight through; perplexity is how many codes are in use."""

    vectors: Float[Tensor, "B D T"]
    codes: Int[Tensor, "B K T"]
    commitment: Float[Tensor, ""]  # sums over codebooks, means over items
    codebook: Float[Tensor, ""]
    perplexity: Float[Tensor, " K"]


class FactorisedCodebook(nn.Module):
    """One codebook between its projections."""

    def __init__(self, config: FactorisedConfig):
        super().__init__()
        proj_in, proj_out = (
            nn.Conv1d(config.dim, config.codebook_dim, 1),
            nn.Conv1d(config.codebook_dim, config.dim, 1),
        )
        for proj in (proj_in, proj_out):
            assert proj.bias is not None
            nn.init.zeros_(proj.bias)
        self.proj_in = normalised(proj_in) if config.weight_norm else proj_in
        self.proj_out = normalised(proj_out) if config.weight_norm else proj_out
        self.vectors = nn.Parameter(torch.randn(config.codebook_size, config.codebook_dim))

    def nearest(self, projected: Float[Tensor, "B E T"]) -> Int[Tensor, "B T"]:
        """Codes of the greatest cosine similarity."""
        directions = F.normalize(self.vectors.float(), dim=1)
        return (F.normalize(projected.float(), dim=1).mT @ directions.mT).argmax(-1)

    def embed(self, codes: Int[Tensor, "B T"]) -> Float[Tensor, "B E T"]:
        return F.embedding(codes, self.vectors).mT

    def decode(self, codes: Int[Tensor, "B T"]) -> Float[Tensor, "B D T"]:
        return self.proj_out(self.embed(codes))

    def encode(self, residual: Float[Tensor, "B D T"]) -> tuple[Int[Tensor, "B T"], Float[Tensor, "B D T"]]:
        """Codes, and what they say of `residual`."""
        codes = self.nearest(self.proj_in(residual))
        return codes, self.decode(codes)

    def forward(
        self, residual: Float[Tensor, "B D T"]
    ) -> tuple[Float[Tensor, "B D T"], Int[Tensor, "B T"], Float[Tensor, " B"], Float[Tensor, " B"]]:
        """As `encode`, with gradients straight through, and the commitment and codebook loss of each item."""
        projected = self.proj_in(residual)
        codes = self.nearest(projected.detach())
        chosen = self.embed(codes)
        commitment = (projected - chosen.detach()).square().mean((1, 2))
        codebook = (chosen - projected.detach()).square().mean((1, 2))
        through = projected + (chosen - projected).detach()
        return self.proj_out(through), codes, commitment, codebook


class FactorisedQuantizer(nn.Module):
    """K codebooks in a row, each for what the ones before left over."""

    def __init__(self, config: FactorisedConfig):
        super().__init__()
        self.config = config
        self.codebooks = nn.ModuleList(FactorisedCodebook(config) for _ in range(config.n_codebooks))

    def _used(self, n_codebooks: int | None) -> list[FactorisedCodebook]:
        n = self.config.n_codebooks if n_codebooks is None else n_codebooks
        if not 1 <= n <= self.config.n_codebooks:
            raise ValueError(f"n_codebooks must be 1 to {self.config.n_codebooks}, got {n}")
        return list(self.codebooks[:n])  # type: ignore[arg-type]

    def depths(self, n_items: int, generator: torch.Generator | None = None) -> Int[Tensor, " B"]:
        """Quantiser dropout (DAC, section 3.3): 1 to all codebooks for some items, all for the others."""
        random = torch.randint(1, self.config.n_codebooks + 1, (n_items,), generator=generator)
        dropped = torch.rand(n_items, generator=generator) < self.config.dropout
        return torch.where(dropped, random, self.config.n_codebooks)

    def forward(
        self,
        latent: Float[Tensor, "B D T"],
        n_codebooks: int | None = None,
        generator: torch.Generator | None = None,
    ) -> Factorised:
        """Quantises with the first `n_codebooks`; by default with all, or in training mode as many as `depths` says."""
        used, n_items = self._used(n_codebooks), latent.shape[0]
        depths = torch.full((n_items,), len(used))
        if self.training and n_codebooks is None:
            depths = self.depths(n_items, generator)
        depths = depths.to(latent.device)
        residual, vectors = latent, torch.zeros_like(latent)
        all_codes, perplexities, losses = [], [], torch.zeros(2, device=latent.device, dtype=latent.dtype)
        for k, codebook in enumerate(used):
            chosen, codes, commitment, pull = codebook(residual)
            kept = (k < depths).to(latent.dtype)
            vectors = vectors + chosen * kept[:, None, None]
            residual = residual - chosen
            losses = losses + (torch.stack([commitment, pull]) * kept).mean(1)
            shares = torch.bincount(codes.flatten(), minlength=self.config.codebook_size) / codes.numel()
            perplexities.append(torch.special.entr(shares).sum().exp())
            all_codes.append(codes)
        return Factorised(vectors, torch.stack(all_codes, dim=1), losses[0], losses[1], torch.stack(perplexities))

    def encode(self, latent: Float[Tensor, "B D T"], n_codebooks: int | None = None) -> Int[Tensor, "B K T"]:
        residual, all_codes = latent, []
        for codebook in self._used(n_codebooks):
            codes, said = codebook.encode(residual)
            residual = residual - said
            all_codes.append(codes)
        return torch.stack(all_codes, dim=1)

    def decode(self, codes: Int[Tensor, "B K T"]) -> Float[Tensor, "B D T"]:
        """Sum of what the codes say, from any number of codebooks up to all.

        Raises:
            ValueError: too many codebooks, or codes that no codebook has.
        """
        used = self._used(codes.shape[1])
        if codes.numel() and not 0 <= int(codes.min()) <= int(codes.max()) < self.config.codebook_size:
            allowed = f"0 to {self.config.codebook_size - 1}"
            raise ValueError(f"codes must be {allowed}, got {int(codes.min())} to {int(codes.max())}")
        vectors = used[0].decode(codes[:, 0])
        for k, codebook in enumerate(used[1:], 1):
            vectors = vectors + codebook.decode(codes[:, k])
        return vectors
