"""EnCodec's language model of codes (arXiv:2210.13438, section 3.3): what comes next, so that it costs fewer bits.

A small causal transformer sees the codes of all codebooks of the frames before and gives, for each codebook, the
distribution of the frame's code; the codebooks of one frame are taken as independent. Official weights:
`encodec_lm_24khz-1608e3c0.th`, `encodec_lm_48khz-7add9fc3.th` (MIT).
Axes: B batch, K codebooks, T frames, N codebook size, D width, S frames of the past.
"""

import math
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from nexus.nn.checkpoint import save_folder


@dataclass(frozen=True, kw_only=True)
class EncodecLMConfig:
    n_codebooks: int = 32
    codebook_size: int = 1024
    dim: int = 200
    n_layers: int = 5
    n_heads: int = 8
    context: int = 262  # frames of the past that attention sees: three and a half seconds

    def __post_init__(self):
        if self.dim % self.n_heads or self.dim % 2 or self.dim < 4:
            raise ValueError(f"dim must be even and a multiple of n_heads, got {self.dim} and {self.n_heads}")
        if self.context < 1:
            raise ValueError(f"context must be at least one frame, got {self.context}")

    @staticmethod
    def encodec_24khz() -> "EncodecLMConfig":
        return EncodecLMConfig()

    @staticmethod
    def encodec_48khz() -> "EncodecLMConfig":
        return EncodecLMConfig(n_codebooks=16, context=525)


@dataclass(frozen=True)
class LMState:
    """What each layer was given so far, and how many frames that were.

    Deviation from common caches: inputs are kept, not keys and values, and projected anew for every frame. Files
    hold up only if reader and writer compute the very same probabilities, and a product over one row rounds
    otherwise than one over many; this is how the original computes them.
    """

    inputs: list[Float[Tensor, "B S D"]]
    n_frames: int


class Layer(nn.Module):
    """Post-norm transformer layer (arXiv:1706.03762) over a limited past."""

    def __init__(self, config: EncodecLMConfig):
        super().__init__()
        self.context = config.context
        self.self_attn = nn.MultiheadAttention(config.dim, config.n_heads, batch_first=True)
        self.linear1 = nn.Linear(config.dim, 4 * config.dim)
        self.linear2 = nn.Linear(4 * config.dim, config.dim)
        self.norm1, self.norm2 = nn.LayerNorm(config.dim), nn.LayerNorm(config.dim)

    def forward(self, x: Float[Tensor, "B T D"], past: Float[Tensor, "B S D"]) -> Float[Tensor, "B T D"]:
        keys = torch.cat([past, x], dim=1)
        n_keys = keys.shape[1]
        distance = torch.arange(past.shape[1], n_keys, device=x.device)[:, None] - torch.arange(n_keys, device=x.device)
        hidden = (distance < 0) | (distance > self.context)
        x = self.norm1(x + self.self_attn(x, keys, keys, attn_mask=hidden, need_weights=False)[0])
        return self.norm2(x + self.linear2(F.gelu(self.linear1(x))))


class EncodecLM(nn.Module):
    few_rows = True  # `nexus.nn.prepack`

    def __init__(self, config: EncodecLMConfig):
        super().__init__()
        self.config = config
        # Row 0 stands for no code: the frame before the first.
        self.embeddings = nn.ModuleList(
            nn.Embedding(config.codebook_size + 1, config.dim) for _ in range(config.n_codebooks)
        )
        self.norm_in = nn.LayerNorm(config.dim)
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.n_layers))
        self.heads = nn.ModuleList(nn.Linear(config.dim, config.codebook_size) for _ in range(config.n_codebooks))

    @property
    def n_codebooks(self) -> int:
        return self.config.n_codebooks

    @property
    def codebook_size(self) -> int:
        return self.config.codebook_size

    def forward(
        self, previous: Int[Tensor, "B K T"], state: LMState | None = None
    ) -> tuple[Float[Tensor, "B K T N"], LMState]:
        """Logits of T frames from the T frames each one before, as code + 1, or 0 for none (`shifted`).

        The first K codebooks may be used alone. A state goes on where an earlier call ended.
        """
        n = previous.shape[1]
        if n > self.n_codebooks:
            raise ValueError(f"this language model knows {self.n_codebooks} codebooks, got {n}")
        x = self.embeddings[0](previous[:, 0])
        for k in range(1, n):
            x = x + self.embeddings[k](previous[:, k])
        # Before the first frame stands one of zeros, which attention may rest on.
        state = state or LMState([torch.zeros_like(x[:, :1])] * len(self.layers), 0)
        x = self.norm_in(x) + positions(state.n_frames, x.shape[1], x.shape[2], x.device)
        kept = []
        for layer, past in zip(self.layers, state.inputs, strict=True):
            kept.append(torch.cat([past, x], dim=1)[:, -self.config.context :])
            x = layer(x, past)
        logits = torch.stack([self.heads[k](x) for k in range(n)], dim=1)
        return logits, LMState(kept, state.n_frames + previous.shape[2])

    def loss(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Mean cross-entropy of batch["codes"] [B, K, T]; "bits" is what a code costs."""
        logits, _ = self(shifted(batch["codes"]))
        loss = F.cross_entropy(logits.flatten(0, 2), batch["codes"].flatten())
        return {"loss": loss, "bits": loss.detach() / math.log(2)}

    def save(self, folder: str | Path, dtype: torch.dtype | None = None) -> None:
        save_folder(self, folder, kind="encodec-lm", config=self.config, dtype=dtype)


def shifted(codes: Int[Tensor, "B K T"]) -> Int[Tensor, "B K T"]:
    """The frames before each frame, as the model takes them."""
    return F.pad(codes + 1, (1, 0))[..., :-1]


def probabilities(logits: Float[Tensor, "B K T N"]) -> Float[Tensor, "B N K T"]:
    """Softmax over the codes, on this layout because sums over others round otherwise (see `LMState`)."""
    return logits.permute(0, 3, 1, 2).softmax(1)


def positions(start: int, n: int, dim: int, device: torch.device) -> Float[Tensor, "1 n dim"]:
    """Cosines, then sines, of n positions at dim / 2 frequencies from 1 to exactly 1 / 10000."""
    half = dim // 2
    periods = 10000.0 ** (torch.arange(half, device=device) / (half - 1))
    angles = torch.arange(start, start + n, device=device)[:, None] / periods
    return torch.cat([angles.cos(), angles.sin()], dim=-1)[None]
