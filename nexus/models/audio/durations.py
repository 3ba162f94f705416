"""How long each phoneme lasts: a small convolutional network in place of F5-TTS's rule of text lengths.

Axes: B batch, S symbols, D width. Symbol ids are -1 beyond the end of an item.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from nexus.models.audio.f5tts_dit import ConvNeXtV2Block


@dataclass(frozen=True, kw_only=True)
class DurationConfig:
    n_symbols: int
    dim: int = 128
    n_layers: int = 4
    unit: float = 0.025  # seconds


class DurationPredictor(nn.Module):
    """The logarithm of each symbol's expected duration, in units, at normal speed."""

    def __init__(self, config: DurationConfig):
        super().__init__()
        self.config = config
        self.embed = nn.Embedding(config.n_symbols + 1, config.dim)
        self.blocks = nn.ModuleList(ConvNeXtV2Block(config.dim, 2 * config.dim) for _ in range(config.n_layers))
        self.norm = nn.LayerNorm(config.dim)
        self.proj_out = nn.Linear(config.dim, 1)

    def forward(self, symbols: Int[Tensor, "B S"]) -> Float[Tensor, "B S"]:
        real = symbols.ge(0)[..., None]
        x = self.embed(symbols + 1) * real
        for block in self.blocks:
            x = block(x) * real
        return self.proj_out(self.norm(x)).squeeze(-1)

    def loss(self, symbols: Int[Tensor, "B S"], durations: Float[Tensor, "B S"]) -> Float[Tensor, ""]:
        """Poisson likelihood: its least is at the mean duration, so that sentences are as long as they should be."""
        real: Bool[Tensor, "B S"] = symbols.ge(0)
        nll = nn.functional.poisson_nll_loss(self(symbols).float(), durations, log_input=True, reduction="none")
        return (nll * real).sum() / real.sum()

    @torch.no_grad()
    def seconds(self, symbols: Int[Tensor, "B S"]) -> Float[Tensor, "B S"]:
        """Expected seconds of each symbol, 0 beyond the end."""
        return self(symbols).float().exp() * self.config.unit * symbols.ge(0)
