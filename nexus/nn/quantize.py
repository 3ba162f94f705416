"""Residual vector quantisation (SoundStream, arXiv:2107.03312) with codebooks that follow their data.

Each codebook takes the nearest vector to what the ones before left over. Codebooks are not trained by gradients but
by moving averages of the vectors assigned to them (VQ-VAE, arXiv:1711.00937, appendix A.1).
Axes: B batch, D width, T frames, K codebooks, N codebook size, R rows (B T).
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor, nn


@dataclass(frozen=True, kw_only=True)
class QuantizerConfig:
    n_codebooks: int = 32
    codebook_size: int = 1024
    dim: int = 128
    decay: float = 0.99  # of the moving averages, a step
    dead_below: float = 0.03  # a code used less than this share of an equal use is drawn anew from the batch
    k_means_steps: int = 10  # 0 takes the first batch's vectors as they come

    def __post_init__(self):
        if min(self.n_codebooks, self.codebook_size, self.dim) < 1:
            raise ValueError(f"n_codebooks, codebook_size and dim must be positive, got {self}")
        if not 0 <= self.decay < 1 or not 0 <= self.dead_below < 1:
            raise ValueError(f"decay and dead_below lie in [0, 1), got {self.decay} and {self.dead_below}")


@dataclass(frozen=True)
class Quantized:
    """What a quantiser gives: `vectors` pass gradients straight through; perplexity is how many codes are in use."""

    vectors: Float[Tensor, "B D T"]
    codes: Int[Tensor, "B K T"]
    commitment: Float[Tensor, ""]
    perplexity: Float[Tensor, " K"]


def n_used(codes: Int[Tensor, "B K T"]) -> Float[Tensor, ""]:
    """How many different codes of a codebook occur, mean over codebooks; negative ones are none."""
    counts = [int((row.unique() >= 0).sum()) for row in codes.unbind(1)]
    return torch.tensor(counts, dtype=torch.float32, device=codes.device).mean()


def nearest(x: Float[Tensor, "R D"], codebook: Float[Tensor, "N D"]) -> Int[Tensor, " R"]:
    """Index of the codebook's vector at the least Euclidean distance; |x|^2 is the same for all and left out."""
    return (2 * x @ codebook.mT - codebook.square().sum(-1)).argmax(-1)


def draw_rows(x: Float[Tensor, "R D"], n: int, generator: torch.Generator | None) -> Float[Tensor, "N D"]:
    """n rows of x, each at most once where there are enough."""
    if n <= len(x):
        return x[torch.randperm(len(x), generator=generator)[:n].to(x.device)]
    return x[torch.randint(len(x), (n,), generator=generator).to(x.device)]


def k_means(x: Float[Tensor, "R D"], n: int, n_steps: int, generator: torch.Generator | None) -> Float[Tensor, "N D"]:
    """Lloyd's algorithm from random rows; a centre without rows stays where it is."""
    centres = draw_rows(x, n, generator)
    for _ in range(n_steps):
        counts, sums = assigned(x, nearest(x, centres), n)
        centres = torch.where(counts[:, None] > 0, sums / counts[:, None].clamp(min=1), centres)
    return centres


def assigned(
    x: Float[Tensor, "R D"], codes: Int[Tensor, " R"], n: int
) -> tuple[Float[Tensor, " N"], Float[Tensor, "N D"]]:
    """How many rows each code has, and their sums."""
    counts = torch.bincount(codes, minlength=n).to(x.dtype)
    return counts, torch.zeros(n, x.shape[1], dtype=x.dtype, device=x.device).index_add_(0, codes, x)


class Codebook(nn.Module):
    """N vectors and the moving averages (use, sum of assigned rows) that they follow."""

    vectors: Tensor
    usage: Tensor
    sums: Tensor
    initialised: Tensor

    def __init__(self, config: QuantizerConfig):
        super().__init__()
        self.config = config
        vectors = torch.randn(config.codebook_size, config.dim)
        self.register_buffer("vectors", vectors)
        self.register_buffer("usage", torch.ones(config.codebook_size))
        self.register_buffer("sums", vectors.clone())
        self.register_buffer("initialised", torch.zeros(1))

    def nearest(self, x: Float[Tensor, "R D"]) -> Int[Tensor, " R"]:
        return nearest(x, self.vectors.float())

    @torch.no_grad()
    def start(self, x: Float[Tensor, "R D"], generator: torch.Generator | None) -> None:
        """Takes k-means centres of the first rows."""
        centres = k_means(x, self.config.codebook_size, self.config.k_means_steps, generator)
        counts, _ = assigned(x, nearest(x, centres), self.config.codebook_size)
        self.vectors.copy_(centres)
        self.usage.copy_(counts + 1e-3)
        self.sums.copy_(centres * self.usage[:, None])
        self.initialised.fill_(1)

    @torch.no_grad()
    def update(self, x: Float[Tensor, "R D"], codes: Int[Tensor, " R"], generator: torch.Generator | None) -> None:
        """Moves each vector to the average of its rows; draws the dead ones anew from the rows."""
        decay, n = self.config.decay, self.config.codebook_size
        counts, sums = assigned(x, codes, n)
        self.usage.mul_(decay).add_(counts, alpha=1 - decay)
        self.sums.mul_(decay).add_(sums, alpha=1 - decay)
        equal_share = self.usage.sum() / n
        dead = self.usage < self.config.dead_below * equal_share
        n_dead = int(dead.sum())
        if n_dead:
            self.usage[dead] = equal_share
            self.sums[dead] = draw_rows(x, n_dead, generator) * equal_share
        self.vectors.copy_(self.sums / self.usage.clamp(min=1e-9)[:, None])


class ResidualQuantizer(nn.Module):
    """K codebooks in a row."""

    def __init__(self, config: QuantizerConfig):
        super().__init__()
        self.config = config
        self.codebooks = nn.ModuleList(Codebook(config) for _ in range(config.n_codebooks))

    def _used(self, n_codebooks: int | None) -> list[Codebook]:
        n = self.config.n_codebooks if n_codebooks is None else n_codebooks
        if not 1 <= n <= self.config.n_codebooks:
            raise ValueError(f"n_codebooks must be 1 to {self.config.n_codebooks}, got {n}")
        return list(self.codebooks[:n])  # type: ignore[arg-type]

    @torch.no_grad()
    def start(self, latent: Float[Tensor, "B D T"], generator: torch.Generator | None = None) -> None:
        """Makes each codebook k-means of what those before leave over; averages weigh as those of one equal use."""
        residual = rearrange(latent.float(), "b d t -> (b t) d")
        for codebook in self._used(None):
            codebook.start(residual, generator)
            codebook.sums.div_(share := codebook.usage.mean())
            codebook.usage.div_(share)
            residual = residual - codebook.vectors[nearest(residual, codebook.vectors)]

    def forward(
        self,
        latent: Float[Tensor, "B D T"],
        n_codebooks: int | Int[Tensor, " B"] | None = None,
        generator: torch.Generator | None = None,
    ) -> Quantized:
        """Quantises with the first `n_codebooks`; in training mode the codebooks also follow `latent`.

        A number for each item is SoundStream's structured dropout: codes of codebooks that an item does without are
        -1, and those codebooks neither see nor follow it.
        """
        b, t = latent.shape[0], latent.shape[2]
        residual = rearrange(latent.float(), "b d t -> (b t) d")
        depths = n_codebooks.to(latent.device) if isinstance(n_codebooks, Tensor) else None
        if depths is not None and int(depths.min()) < 1:
            raise ValueError(f"every item needs at least one codebook, got {depths.tolist()}")
        deepest = int(n_codebooks.max()) if isinstance(n_codebooks, Tensor) else n_codebooks
        all_codes, losses, perplexities = [], [], []
        for k, codebook in enumerate(self._used(deepest)):
            rows = slice(None) if depths is None else (depths > k).repeat_interleave(t)
            x = residual[rows]
            if self.training and not codebook.initialised.item():
                codebook.start(x.detach(), generator)
            codes = nearest(x.detach(), codebook.vectors)
            chosen = F.embedding(codes, codebook.vectors.detach().clone() if self.training else codebook.vectors)
            losses.append(F.mse_loss(x, chosen))
            if self.training:
                codebook.update(x.detach(), codes, generator)
            shares = torch.bincount(codes, minlength=self.config.codebook_size) / len(codes)
            perplexities.append(torch.special.entr(shares).sum().exp())
            if isinstance(rows, slice):
                residual = x - chosen
            else:
                residual = residual.index_put((rows,), x - chosen)
                codes = torch.full_like(rows, -1, dtype=torch.int64).index_put((rows,), codes)
            all_codes.append(codes)
        # What is left over passes no gradient: the sum of the chosen vectors takes the latent's own.
        leftover = rearrange(residual.detach(), "(b t) d -> b d t", b=b, t=t)
        codes = rearrange(torch.stack(all_codes), "k (b t) -> b k t", b=b, t=t)
        return Quantized(
            (latent - leftover).to(latent.dtype), codes, torch.stack(losses).mean(), torch.stack(perplexities)
        )

    def encode(self, latent: Float[Tensor, "B D T"], n_codebooks: int | None = None) -> Int[Tensor, "B K T"]:
        b, t = latent.shape[0], latent.shape[2]
        residual = rearrange(latent.float(), "b d t -> (b t) d")
        all_codes = []
        for codebook in self._used(n_codebooks):
            codes = codebook.nearest(residual)
            residual = residual - F.embedding(codes, codebook.vectors).float()
            all_codes.append(codes)
        return rearrange(torch.stack(all_codes), "k (b t) -> b k t", b=b, t=t)

    def decode(self, codes: Int[Tensor, "B K T"]) -> Float[Tensor, "B D T"]:
        used = self._used(codes.shape[1])
        if codes.numel() and not 0 <= int(codes.min()) <= int(codes.max()) < self.config.codebook_size:
            allowed = f"0 to {self.config.codebook_size - 1}"
            raise ValueError(f"codes must be {allowed}, got {int(codes.min())} to {int(codes.max())}")
        chosen = [F.embedding(codes[:, k], codebook.vectors) for k, codebook in enumerate(used)]
        return torch.stack(chosen).sum(0).mT
