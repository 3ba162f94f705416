"""PixArt's transformer (arXiv:2310.00426, section 2.3): a DiT whose blocks share one time embedding, and read text.

"adaLN-single": one linear layer gives six shifts, scales and gates for all blocks; a block adds a table of its own.
Text comes in by cross-attention, without a norm or a gate. The same network serves PixArt-Sigma (arXiv:2403.04692).

Axes: B batch, C latent channels, H height, W width, S text tokens, T patches (row by row), D width.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Num
from torch import Tensor, nn

from nexus.nn.attention import attend, merge_heads, split_heads
from nexus.nn.beside import NOTHING, Beside
from nexus.nn.modulation import modulate
from nexus.nn.patch import PatchEmbed, from_pixels, grid_positions
from nexus.nn.recompute import Recomputing
from nexus.nn.time_embed import TimeEmbedding

TextKeys = Sequence[tuple[Tensor, Tensor]]  # keys and values [B, N, S, E] of every block


@dataclass(frozen=True, kw_only=True)
class PixArtTransformerConfig:
    """Sizes; the defaults are PixArt-XL-2-512x512's."""

    n_layers: int = 28
    n_heads: int = 16
    head_dim: int = 72
    in_channels: int = 4
    out_channels: int = 8  # the second half, a learnt variance, is left unused by samplers
    text_dim: int = 4096
    patch_size: int = 2
    sample_size: int = 64  # side of the latents it was trained on, whose patches are `position_scale` apart
    position_scale: float = 1.0
    size_conditions: bool = False  # told the picture's height, width and aspect ratio (the 1024 px models of alpha)

    def __post_init__(self):
        if self.dim % 4:
            raise ValueError(f"sine-cosine positions of two axes need a width in multiples of 4, got {self.dim}")
        if self.sample_size % self.patch_size:
            raise ValueError(f"sample_size {self.sample_size} must be in multiples of patch_size {self.patch_size}")
        if self.out_channels not in (self.in_channels, 2 * self.in_channels):
            raise ValueError(f"out_channels are {self.in_channels} or twice as many, got {self.out_channels}")

    @property
    def dim(self) -> int:
        return self.n_heads * self.head_dim

    @classmethod
    def alpha_1024(cls) -> "PixArtTransformerConfig":
        return cls(sample_size=128, position_scale=2.0, size_conditions=True)

    @classmethod
    def sigma_1024(cls) -> "PixArtTransformerConfig":
        return cls(sample_size=128, position_scale=2.0)


class SelfAttention(nn.Module):
    def __init__(self, dim: int, n_heads: int):
        super().__init__()
        self.n_heads = n_heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.out = nn.Linear(dim, dim)

    def forward(self, x: Float[Tensor, "B T D"]) -> Float[Tensor, "B T D"]:
        q, k, v = (split_heads(part, self.n_heads) for part in self.qkv(x).chunk(3, dim=-1))
        return self.out(merge_heads(attend(q, k, v)))


class TextAttention(nn.Module):
    """Patches ask, text answers; its keys and values stay the same over all steps of a sampler."""

    def __init__(self, dim: int, n_heads: int):
        super().__init__()
        self.n_heads = n_heads
        self.q = nn.Linear(dim, dim)
        self.kv = nn.Linear(dim, 2 * dim)
        self.out = nn.Linear(dim, dim)

    def keys(self, text: Float[Tensor, "B S D"]) -> tuple[Float[Tensor, "B N S E"], Float[Tensor, "B N S E"]]:
        k, v = (split_heads(part, self.n_heads) for part in self.kv(text).chunk(2, dim=-1))
        return k, v

    def forward(
        self, x: Float[Tensor, "B T D"], keys: tuple[Tensor, Tensor], mask: Bool[Tensor, "B S"] | None
    ) -> Float[Tensor, "B T D"]:
        return self.out(merge_heads(attend(split_heads(self.q(x), self.n_heads), *keys, mask)))


class Block(nn.Module):
    def __init__(self, dim: int, n_heads: int):
        super().__init__()
        self.table = nn.Parameter(torch.randn(6, dim) / dim**0.5)
        self.attn = SelfAttention(dim, n_heads)
        self.text_attn = TextAttention(dim, n_heads)
        self.ff = nn.Sequential(nn.Linear(dim, 4 * dim), nn.GELU(approximate="tanh"), nn.Linear(4 * dim, dim))

    def forward(
        self,
        x: Float[Tensor, "B T D"],
        time: Float[Tensor, "B 6 D"],
        keys: tuple[Tensor, Tensor],
        mask: Bool[Tensor, "B S"] | None,
    ) -> Float[Tensor, "B T D"]:
        shift, scale, gate, ff_shift, ff_scale, ff_gate = (self.table + time).split(1, dim=1)
        x = x + gate * self.attn(modulate(x, shift, scale))
        x = x + self.text_attn(x, keys, mask)
        return x + ff_gate * self.ff(modulate(x, ff_shift, ff_scale))


class PixArtTransformer(Recomputing):
    def __init__(self, config: PixArtTransformerConfig):
        super().__init__()
        self.config = config
        dim, patch = config.dim, config.patch_size
        self.patches_in = PatchEmbed(config.in_channels, dim, patch)
        self.text_in = nn.Sequential(nn.Linear(config.text_dim, dim), nn.GELU(approximate="tanh"), nn.Linear(dim, dim))
        self.time_embed = TimeEmbedding(dim)
        if config.size_conditions:
            self.size_embed = TimeEmbedding(dim // 3)
            self.aspect_embed = TimeEmbedding(dim // 3)
        self.modulation = nn.Linear(dim, 6 * dim)
        self.blocks = nn.ModuleList(Block(dim, config.n_heads) for _ in range(config.n_layers))
        self.table = nn.Parameter(torch.randn(2, dim) / dim**0.5)
        self.proj_out = nn.Linear(dim, patch * patch * config.out_channels)

    def text_keys(self, text: Float[Tensor, "B S E"]) -> TextKeys:
        """Keys and values of the text for every block: once for all steps of a sampler."""
        text = self.text_in(text)
        return [block.text_attn.keys(text) for block in self.blocks]  # type: ignore[union-attr, operator]

    def forward(
        self,
        x_t: Float[Tensor, "B C H W"],
        time: Num[Tensor, " B"],
        text: Float[Tensor, "B S E"] | TextKeys,
        text_mask: Bool[Tensor, "B S"] | None = None,
        size: Float[Tensor, "B 2"] | None = None,
        beside: Beside = NOTHING,
    ) -> Float[Tensor, "B O H W"]:
        """The prediction for `x_t`.

        Args:
            time: of each item, 0 (data) to 1000 (noise).
            text: token states, or what `text_keys` made of them.
            text_mask: True for real tokens.
            size: height and width in pixels of the picture wanted, for networks with `size_conditions`.
            beside: what adapters add to the blocks.

        Raises:
            ValueError: sides that are no multiples of the patch size, or a size missing.
        """
        embedded = self.embed(time, size)
        shared = self.shared(embedded)
        keys = self.text_keys(text) if isinstance(text, Tensor) else text
        x = self.patches(x_t)
        for i, (block, own) in enumerate(zip(self.blocks, keys, strict=True)):
            x = beside.after(i, self.run(block, x, shared, own, text_mask))
        shift, scale = (self.table + embedded[:, None]).split(1, dim=1)
        rows, patch = x_t.shape[2] // self.config.patch_size, self.config.patch_size
        return from_pixels(self.proj_out(modulate(x, shift, scale)), rows, patch)

    def patches(self, x_t: Float[Tensor, "B C H W"]) -> Float[Tensor, "B T D"]:
        """Patches, each with its place."""
        rows, columns = (side // self.config.patch_size for side in x_t.shape[2:])
        return self.patches_in(x_t) + self.places(rows, columns, x_t)

    def shared(self, embedded: Float[Tensor, "B D"]) -> Float[Tensor, "B 6 D"]:
        """What all blocks are told of the time, to which each adds a table of its own."""
        return self.modulation(F.silu(embedded)).unflatten(1, (6, -1))

    def embed(self, time: Num[Tensor, " B"], size: Float[Tensor, "B 2"] | None) -> Float[Tensor, "B D"]:
        """Time, and with `size_conditions` height, width and aspect ratio, each a third of the width."""
        embedded = self.time_embed(time)
        if not self.config.size_conditions:
            return embedded
        if size is None:
            raise ValueError("this PixArt is told the picture's size: give `size`, its height and width in pixels")
        sides, aspect = self.size_embed(size.flatten()), self.aspect_embed(size[:, 0] / size[:, 1])
        return embedded + torch.cat([sides.reshape(len(size), -1), aspect], dim=1)

    def places(self, rows: int, columns: int, like: Tensor) -> Float[Tensor, "T D"]:
        """Sine-cosine positions; a grid of another size is stretched over the one of training."""
        base, stretch = self.config.sample_size // self.config.patch_size, self.config.position_scale
        return grid_positions(self.config.dim, rows, columns, base=base, stretch=stretch, device=like.device).to(like)
