"""A transformer over frames whose feed-forward layers are convolutions (FastSpeech, arXiv:1905.09263, section 3.1).

Axes: B batch, T frames, D width.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from nexus.nn.attention import attend, merge_heads, split_heads


class FrameTransformerLayer(nn.Module):
    """Attention and two layers, a convolution and a projection, each after a norm and beside a shortcut."""

    def __init__(self, dim: int, n_heads: int, hidden_dim: int, kernel_size: int):
        super().__init__()
        self.n_heads = n_heads
        self.attention_norm, self.norm = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.qkv, self.attention_out = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        self.conv = nn.Conv1d(dim, hidden_dim, kernel_size, padding=kernel_size // 2)
        self.out = nn.Linear(hidden_dim, dim)

    def forward(self, x: Float[Tensor, "B T D"]) -> Float[Tensor, "B T D"]:
        q, k, v = (split_heads(part, self.n_heads) for part in self.qkv(self.attention_norm(x)).chunk(3, dim=-1))
        x = x + self.attention_out(merge_heads(attend(q, k, v)))
        return x + self.out(F.relu(self.conv(self.norm(x).mT).mT))


class FrameTransformer(nn.Module):
    """Layers and a last norm; frames have no positions but what the convolutions see of their neighbours.

    FACodec's code adds the sinusoids of a frame's place, but looks them up by the item of the batch; its weights were
    trained so. Here every item has those of the first: zeros and ones in turn.
    """

    def __init__(self, dim: int, n_layers: int, n_heads: int, hidden_dim: int, kernel_size: int):
        super().__init__()
        if dim % n_heads or kernel_size % 2 == 0:
            raise ValueError(f"dim must divide into heads, and kernel_size be odd, got {dim}, {n_heads}, {kernel_size}")
        layers = (FrameTransformerLayer(dim, n_heads, hidden_dim, kernel_size) for _ in range(n_layers))
        self.layers = nn.ModuleList(layers)
        self.norm = nn.LayerNorm(dim)

    def forward(self, x: Float[Tensor, "B T D"]) -> Float[Tensor, "B T D"]:
        x = x + (torch.arange(x.shape[-1], device=x.device) % 2).to(x.dtype)
        for layer in self.layers:
            x = layer(x)
        return self.norm(x)
