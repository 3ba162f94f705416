"""Drawing a token from logits: greedy, temperature, top-k (arXiv:1805.04833), top-p (arXiv:1904.09751).

Axes: B batch, K codebooks, V codebook entries.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from nexus.process.noise import uniform


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How to draw: temperature 0 is greedy; top_k 0 and top_p 0 keep every entry; with both, top-k comes first."""

    temperature: float | int = 1.0
    top_k: int = 250
    top_p: float | int = 0.0

    def __post_init__(self):
        if not 0 <= self.temperature <= 10:
            raise ValueError(f"temperature must be 0 (greedy) to 10, got {self.temperature}")
        if self.top_k < 0:
            raise ValueError(f"top_k must be 0 (all) or more, got {self.top_k}")
        if not 0 <= self.top_p <= 1:
            raise ValueError(f"top_p must be 0 (all) to 1, got {self.top_p}")


def keep_top_k(logits: Float[Tensor, "*B V"], k: int) -> Float[Tensor, "*B V"]:
    """-inf below the k-th largest logit."""
    if k == 0 or k >= logits.shape[-1]:
        return logits
    threshold = logits.topk(k, dim=-1).values[..., -1:]
    return logits.masked_fill(logits < threshold, -torch.inf)


def keep_top_p(logits: Float[Tensor, "*B V"], p: float) -> Float[Tensor, "*B V"]:
    """-inf outside the smallest set of largest entries whose probability reaches p."""
    if p == 0 or p == 1:
        return logits
    ordered, order = logits.sort(dim=-1, descending=True)
    before = ordered.softmax(-1).cumsum(-1).roll(1, -1)
    before[..., 0] = 0
    outside = torch.zeros_like(before, dtype=torch.bool).scatter(-1, order, before >= p)
    return logits.masked_fill(outside, -torch.inf)


def sample(
    logits: Float[Tensor, "B K V"], rngs: list[torch.Generator], config: Sampling | None = None
) -> Int64[Tensor, "B K"]:
    """One entry per codebook, each row from its own generator, by inverting the cumulative distribution."""
    config = config or Sampling()
    if config.temperature == 0:
        return logits.argmax(-1)
    kept = keep_top_p(keep_top_k(logits.float() / config.temperature, config.top_k), config.top_p)
    cumulative = kept.softmax(-1).cumsum(-1)
    u = uniform(logits.shape[1:2], rngs, device=logits.device)[..., None]
    # The last sum is 1 up to rounding; scaling by it keeps the draw inside the kept entries.
    return torch.searchsorted(cumulative, u * cumulative[..., -1:], right=True)[..., 0].clamp(max=logits.shape[-1] - 1)
