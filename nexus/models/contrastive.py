"""Contrastive pretraining (CLIP, arXiv:2103.00020): vectors of unit norm whose products are high for what fits words.

What sounds (`audio/clap.py`) and clips (`video/videoclip.py`) have in common: the text tower, which reads the states of
a frozen text encoder, and the loss. Axes: B items, N texts, R text positions, W text width, D vectors' width.
"""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F


class Contrastive(nn.Module):
    """`text_encoder` completes the network; `nexus.load` attaches it."""

    text_encoder: Callable[[list[str]], tuple[Tensor, Tensor]]  # states [B, R, W] and mask [B, R]

    def __init__(self, text_dim: int, hidden_dim: int, dim: int, dropout: float):
        super().__init__()
        self.text = nn.Sequential(
            nn.Linear(text_dim, hidden_dim), nn.GELU(), nn.Dropout(dropout), nn.Linear(hidden_dim, dim)
        )
        self.log_scale = nn.Parameter(torch.tensor(2.66))  # of 1 / 0.07, as CLIP's

    def read(self, states: Float[Tensor, "N R W"], mask: Bool[Tensor, "N R"]) -> Float[Tensor, "N D"]:
        """Vectors of unit norm of texts, from the encoder's states."""
        mean = (states * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
        return F.normalize(self.text(mean), dim=1)

    def products(self, items: Float[Tensor, "B D"], texts: Float[Tensor, "N D"]) -> Float[Tensor, "B N"]:
        """Of all vectors, sharpened as learnt."""
        return self.log_scale.exp().clamp(max=100) * items @ texts.T

    @staticmethod
    def contrast(scores: Float[Tensor, "B B"], same: Bool[Tensor, "B B"]) -> Float[Tensor, ""]:
        """Symmetric cross-entropy of which text belongs to which item; `same` texts are equally right."""
        right = same / same.sum(1, keepdim=True)
        return (F.cross_entropy(scores, right) + F.cross_entropy(scores.T, right)) / 2

    def fits(self, items: Float[Tensor, "B D"], prompts: Sequence[str]) -> Float[Tensor, " B"]:
        """The product of each item's vector with that of its prompt, from -1 to 1."""
        states, mask = self.text_encoder(list(prompts))
        read = self.read(states.to(items.device, self.log_scale.dtype), mask.to(items.device))
        return (items.float() * read.float()).sum(1)
