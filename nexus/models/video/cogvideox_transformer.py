"""CogVideoX's expert transformer (arXiv:2408.06072, section 2.2): full attention over text and video tokens together.

Text and video share every weight but the adaptive norms, which shift, scale and gate the two apart ("expert adaLN").

Axes: B batch, C latent channels, F latent frames, H height, W width, S text tokens, T tokens (text first), D width.
"""

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from nexus.nn.attention import attend, merge_heads, split_heads
from nexus.nn.embed import sincos_3d, timestep_embedding
from nexus.nn.modulation import projection
from nexus.nn.recompute import Recomputing
from nexus.nn.rope import Rotation, apply_rope, rope_frequencies_3d


@dataclass(frozen=True, kw_only=True)
class TransformerConfig:
    """Sizes; the defaults are CogVideoX-2B's."""

    n_layers: int = 30
    n_heads: int = 30
    head_dim: int = 64
    in_channels: int = 16
    text_dim: int = 4096
    time_dim: int = 512
    patch_size: int = 2
    positions: Literal["sincos", "rope"] = "sincos"
    sample_size: tuple[int, int] = (60, 90)  # height and width of the latents it was trained on
    spatial_interpolation: float = 1.875  # sine-cosine positions are divided by it
    attend_padding: bool = True  # official weights were trained attending to padded text
    modulation_rank: int | None = None  # of the blocks' modulations; None is full

    def __post_init__(self):
        if self.positions == "rope" and self.head_dim % 16:
            raise ValueError(f"3D rope needs head_dim in multiples of 16, got {self.head_dim}")
        if any(side % self.patch_size for side in self.sample_size):
            raise ValueError(f"sample_size {self.sample_size} must be in multiples of patch_size {self.patch_size}")

    @property
    def dim(self) -> int:
        return self.n_heads * self.head_dim

    @classmethod
    def cogvideox_5b(cls) -> "TransformerConfig":
        return cls(n_layers=42, n_heads=48, positions="rope")


class ExpertNorm(nn.Module):
    """Adaptive layer norm with shifts, scales and gates of its own for video and for text."""

    def __init__(self, dim: int, time_dim: int, rank: int | None = None):
        super().__init__()
        self.modulation = projection(time_dim, 6 * dim, rank)
        self.norm = nn.LayerNorm(dim)

    def forward(
        self, x: Float[Tensor, "B T D"], n_text: int, time: Float[Tensor, "B E"]
    ) -> tuple[Float[Tensor, "B T D"], Float[Tensor, "B T D"]]:
        """The modulated norm of `x` and the gate of what will be added to it."""
        video, text = self.modulation(F.silu(time))[:, None].chunk(2, dim=-1)  # [B, 1, 3 D]
        parts = torch.cat([text.expand(-1, n_text, -1), video.expand(-1, x.shape[1] - n_text, -1)], dim=1)
        shift, scale, gate = parts.chunk(3, dim=-1)
        return self.norm(x) * (1 + scale) + shift, gate


class Attention(nn.Module):
    """Self-attention with normed queries and keys; only video tokens are turned by rope."""

    def __init__(self, dim: int, n_heads: int):
        super().__init__()
        self.n_heads = n_heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.q_norm = nn.LayerNorm(dim // n_heads, eps=1e-6)
        self.k_norm = nn.LayerNorm(dim // n_heads, eps=1e-6)
        self.out = nn.Linear(dim, dim)

    def forward(
        self, x: Float[Tensor, "B T D"], n_text: int, rotation: Rotation | None, mask: Bool[Tensor, "B T"] | None
    ) -> Float[Tensor, "B T D"]:
        q, k, v = (split_heads(part, self.n_heads) for part in self.qkv(x).chunk(3, dim=-1))
        q, k = self.q_norm(q), self.k_norm(k)
        if rotation is not None:
            q, k = (torch.cat([t[:, :, :n_text], apply_rope(t[:, :, n_text:], *rotation)], dim=2) for t in (q, k))
        return self.out(merge_heads(attend(q, k, v, mask)))


class Block(nn.Module):
    def __init__(self, config: TransformerConfig):
        super().__init__()
        dim = config.dim
        self.norm1 = ExpertNorm(dim, config.time_dim, config.modulation_rank)
        self.attn = Attention(dim, config.n_heads)
        self.norm2 = ExpertNorm(dim, config.time_dim, config.modulation_rank)
        self.ff = nn.Sequential(nn.Linear(dim, 4 * dim), nn.GELU(approximate="tanh"), nn.Linear(4 * dim, dim))

    def forward(
        self,
        x: Float[Tensor, "B T D"],
        n_text: int,
        time: Float[Tensor, "B E"],
        rotation: Rotation | None,
        mask: Bool[Tensor, "B T"] | None,
    ) -> Float[Tensor, "B T D"]:
        h, gate = self.norm1(x, n_text, time)
        x = x + gate * self.attn(h, n_text, rotation, mask)
        h, gate = self.norm2(x, n_text, time)
        return x + gate * self.ff(h)


class FinalNorm(nn.Module):
    """Adaptive layer norm before the output; its halves are shift, then scale."""

    def __init__(self, dim: int, time_dim: int):
        super().__init__()
        self.modulation = nn.Linear(time_dim, 2 * dim)
        self.norm = nn.LayerNorm(dim)

    def forward(self, x: Float[Tensor, "B T D"], time: Float[Tensor, "B E"]) -> Float[Tensor, "B T D"]:
        shift, scale = self.modulation(F.silu(time))[:, None].chunk(2, dim=-1)
        return self.norm(x) * (1 + scale) + shift


class Transformer(Recomputing):
    def __init__(self, config: TransformerConfig):
        super().__init__()
        self.config = config
        dim, patch = config.dim, config.patch_size
        self.video_in = nn.Conv2d(config.in_channels, dim, patch, stride=patch)
        self.text_in = nn.Linear(config.text_dim, dim)
        self.time_embed = nn.Sequential(
            nn.Linear(dim, config.time_dim), nn.SiLU(), nn.Linear(config.time_dim, config.time_dim)
        )
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.n_layers))
        self.norm_final = nn.LayerNorm(dim)
        self.norm_out = FinalNorm(dim, config.time_dim)
        self.proj_out = nn.Linear(dim, patch * patch * config.in_channels)

    def forward(
        self,
        x_t: Float[Tensor, "B C F H W"],
        step: Int[Tensor, " B"],
        text: Float[Tensor, "B S E"],
        text_mask: Bool[Tensor, "B S"] | None = None,
    ) -> Float[Tensor, "B C F H W"]:
        """The velocity of `x_t` at each item's step; H and W in multiples of the patch size."""
        patch, n_text = self.config.patch_size, text.shape[1]
        if x_t.shape[3] % patch or x_t.shape[4] % patch:
            raise ValueError(f"latents must have sides in multiples of {patch}, got {list(x_t.shape[3:])}")
        grid = (x_t.shape[2], x_t.shape[3] // patch, x_t.shape[4] // patch)
        time = self.time_embed(timestep_embedding(step, self.config.dim).to(x_t.dtype))
        video = self.video_in(rearrange(x_t, "b c f h w -> (b f) c h w"))
        video = rearrange(video, "(b f) d h w -> b (f h w) d", b=len(x_t))
        rotation = None
        if self.config.positions == "rope":
            rotation = self.rotation(*grid)
        else:
            video = video + self.places(*grid).to(video)
        x = torch.cat([self.text_in(text), video], dim=1)  # [B, S + T, D]
        mask = None
        if text_mask is not None and not self.config.attend_padding:
            mask = F.pad(text_mask, (0, video.shape[1]), value=True)
        for block in self.blocks:
            x = self.run(block, x, n_text, time, rotation, mask)
        x = self.proj_out(self.norm_out(self.norm_final(x)[:, n_text:], time))
        f, h, w = grid
        return rearrange(x, "b (f h w) (c p q) -> b c f (h p) (w q)", f=f, h=h, w=w, p=patch, q=patch)

    def places(self, frames: int, rows: int, columns: int) -> Float[Tensor, "T D"]:
        """Sine-cosine positions (2B)."""
        scale = self.config.spatial_interpolation
        axes = (torch.arange(frames) * 1.0, torch.arange(rows) / scale, torch.arange(columns) / scale)
        return sincos_3d(self.config.dim, *axes)

    def rotation(self, frames: int, rows: int, columns: int) -> Rotation:
        """Rotary positions (5B): a grid of another size is stretched and centred over the one of training."""
        base_rows, base_columns = (side // self.config.patch_size for side in self.config.sample_size)
        if rows / columns > base_rows / base_columns:
            height, width = base_rows, round(base_rows / rows * columns)
        else:
            height, width = round(base_columns / columns * rows), base_columns
        top, left = round((base_rows - height) / 2), round((base_columns - width) / 2)
        axes = (
            torch.arange(frames, dtype=torch.float32),
            # The official code's spacing: off the even one where the start is not 0, and kept for its weights.
            torch.linspace(top, (top + height) * (rows - 1) / rows, rows),
            torch.linspace(left, (left + width) * (columns - 1) / columns, columns),
        )
        return rope_frequencies_3d(self.config.head_dim, *axes)
