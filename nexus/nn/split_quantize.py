"""Split residual quantisation (Mimi, arXiv:2410.00037, section 3.3): what is meant and how it sounds, side by side.

A few semantic codebooks and the acoustic rest each quantise the same latent, in a narrower space of their own; the
sum of both, projected back, is the quantised latent. So the semantic codes need not leave a residual worth coding.
Axes: B batch, D latent width, V width of the codebooks, T frames, K codebooks (the semantic ones first).
"""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from nexus.nn.quantize import Quantized, QuantizerConfig, ResidualQuantizer


class ProjectedQuantizer(nn.Module):
    """Residual quantisation between a projection to the codebooks' width and one back."""

    def __init__(self, config: QuantizerConfig, latent_dim: int):
        super().__init__()
        self.proj_in = nn.Linear(latent_dim, config.dim, bias=False)
        self.quantizer = ResidualQuantizer(config)
        self.proj_out = nn.Linear(config.dim, latent_dim, bias=False)

    def forward(
        self, latent: Float[Tensor, "B D T"], n_codebooks: int, generator: torch.Generator | None
    ) -> tuple[Float[Tensor, "B D T"], Quantized]:
        quantized = self.quantizer(self.proj_in(latent.mT).mT, n_codebooks, generator)
        return self.proj_out(quantized.vectors.mT).mT, quantized

    def encode(self, latent: Float[Tensor, "B D T"], n_codebooks: int) -> Int[Tensor, "B K T"]:
        return self.quantizer.encode(self.proj_in(latent.mT).mT, n_codebooks)

    def decode(self, codes: Int[Tensor, "B K T"]) -> Float[Tensor, "B D T"]:
        return self.proj_out(self.quantizer.decode(codes).mT).mT


@dataclass(frozen=True)
class SplitQuantized(Quantized):
    """As `Quantized`, with what the semantic codebooks alone stand for: what meaning is distilled into."""

    semantic: Float[Tensor, "B V T"]


class SplitQuantizer(nn.Module):
    def __init__(self, config: QuantizerConfig, n_semantic: int, latent_dim: int):
        super().__init__()
        if not 1 <= n_semantic < config.n_codebooks:
            raise ValueError(f"n_semantic must be 1 to {config.n_codebooks - 1}, or no codebook is left for sound")
        self.config, self.n_semantic = config, n_semantic
        self.semantic = ProjectedQuantizer(replace(config, n_codebooks=n_semantic), latent_dim)
        self.acoustic = ProjectedQuantizer(replace(config, n_codebooks=config.n_codebooks - n_semantic), latent_dim)

    def forward(
        self,
        latent: Float[Tensor, "B D T"],
        n_codebooks: int | None = None,
        generator: torch.Generator | None = None,
    ) -> SplitQuantized:
        """Quantises with the first `n_codebooks`; in training mode the codebooks also follow the latent."""
        n_acoustic = self._acoustic(n_codebooks)
        vectors, semantic = self.semantic(latent, self.n_semantic, generator)
        parts = [semantic]
        if n_acoustic:
            sound, acoustic = self.acoustic(latent, n_acoustic, generator)
            vectors, parts = vectors + sound, [semantic, acoustic]
        commitment = sum(part.commitment * len(part.perplexity) for part in parts) / (self.n_semantic + n_acoustic)
        return SplitQuantized(
            vectors,
            torch.cat([part.codes for part in parts], dim=1),
            commitment,  # type: ignore[arg-type]
            torch.cat([part.perplexity for part in parts]),
            semantic.vectors,
        )

    def encode(self, latent: Float[Tensor, "B D T"], n_codebooks: int | None = None) -> Int[Tensor, "B K T"]:
        n_acoustic = self._acoustic(n_codebooks)
        codes = self.semantic.encode(latent, self.n_semantic)
        return torch.cat([codes, self.acoustic.encode(latent, n_acoustic)], dim=1) if n_acoustic else codes

    def decode(self, codes: Int[Tensor, "B K T"]) -> Float[Tensor, "B D T"]:
        n_acoustic = self._acoustic(codes.shape[1])
        latent = self.semantic.decode(codes[:, : self.n_semantic])
        return latent + self.acoustic.decode(codes[:, self.n_semantic :]) if n_acoustic else latent

    def _acoustic(self, n_codebooks: int | None) -> int:
        """How many of `n_codebooks` are acoustic; all of them by default."""
        n = self.config.n_codebooks if n_codebooks is None else n_codebooks
        if not self.n_semantic <= n <= self.config.n_codebooks:
            raise ValueError(f"n_codebooks must be {self.n_semantic} to {self.config.n_codebooks}, got {n}")
        return n - self.n_semantic
