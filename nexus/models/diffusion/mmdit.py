"""MM-DiT, the network of Stable Diffusion 3 and 3.5 (arXiv:2403.03206, section 4): text and patches of latents run in
streams with weights of their own and meet in one attention; time and a summary of the text modulate both.

Axes: B batch, C latent channels, H height, W width, S text tokens, T patches (row by row), D width, P width of the
text's summary, M side of the table of positions.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from einops import rearrange
from jaxtyping import Float, Num
from torch import Tensor, nn

from nexus.nn.beside import NOTHING, Beside
from nexus.nn.embed import sincos_2d
from nexus.nn.joint import JointBlock, Listened, Rest, Stream
from nexus.nn.modulation import AdaptiveNorm, Modulation, modulate
from nexus.nn.patch import PatchEmbed, from_pixels
from nexus.nn.recompute import Recomputing
from nexus.nn.self_attention import Heads, SelfAttention
from nexus.nn.time_embed import TimeEmbedding


@dataclass(frozen=True, kw_only=True)
class MMDiTConfig:
    """Sizes; the defaults are Stable Diffusion 3 Medium's (2 billion parameters)."""

    n_layers: int = 24
    n_heads: int = 24
    head_dim: int = 64
    in_channels: int = 16
    out_channels: int = 16
    text_dim: int = 4096
    summary_dim: int = 2048
    patch_size: int = 2
    sample_size: int = 128  # side of the latents it was trained on
    max_patches: int = 192  # side of the table of positions, from whose middle a picture's are cut
    qk_norm: bool = False
    n_dual_layers: int = 0  # so many first blocks have a second attention, among patches alone (MM-DiT-X)

    def __post_init__(self):
        if self.dim % 4:
            raise ValueError(f"sine-cosine positions of two axes need a width in multiples of 4, got {self.dim}")
        if not 0 <= self.n_dual_layers <= self.n_layers:
            raise ValueError(f"n_dual_layers must be from 0 to n_layers {self.n_layers}, got {self.n_dual_layers}")

    @property
    def dim(self) -> int:
        return self.n_heads * self.head_dim

    @property
    def sizes(self) -> tuple[int, int, bool]:
        """Of each stream."""
        return self.dim, self.n_heads, self.qk_norm

    @classmethod
    def sd35_medium(cls) -> "MMDiTConfig":
        return cls(max_patches=384, qk_norm=True, n_dual_layers=13)

    @classmethod
    def sd35_large(cls) -> "MMDiTConfig":
        return cls(n_layers=38, n_heads=38, qk_norm=True)


class DualStream(Stream):
    """A stream whose tokens also attend to one another alone (MM-DiT-X, Stable Diffusion 3.5 Medium)."""

    def __init__(self, dim: int, n_heads: int, qk_norm: bool):
        super().__init__(dim, n_heads, qk_norm)
        self.modulation = Modulation(dim, 9)
        self.self_attn = SelfAttention(dim, n_heads, qk_norm)

    def ask(self, x: Float[Tensor, "B T D"], vector: Float[Tensor, "B D"]) -> tuple[Tensor, Heads, Rest]:
        shift, scale, *rest, own_shift, own_scale, own_gate = self.modulation(vector)
        alone = self.self_attn(modulate(x, own_shift, own_scale))
        return torch.addcmul(x, own_gate, alone), self.heads.bare(modulate(x, shift, scale)), tuple(rest)


def stream(config: MMDiTConfig, i: int) -> Stream:
    """Of the patches, in block i."""
    return (DualStream if i < config.n_dual_layers else Stream)(*config.sizes)


def make_block(config: MMDiTConfig, i: int) -> JointBlock:
    """Block i of the network: text goes no further than the last one's attention."""
    text = (Listened if i == config.n_layers - 1 else Stream)(*config.sizes)
    return JointBlock(text, stream(config, i))


class Trunk(Recomputing):
    """What MM-DiT and its ControlNet share: the way in, and a walk through blocks."""

    positions: Float[Tensor, "M M D"]

    def __init__(self, config: MMDiTConfig, blocks: Iterable[JointBlock]):
        super().__init__()
        self.config = config
        dim, patch, most = config.dim, config.patch_size, config.max_patches
        self.patches_in = PatchEmbed(config.in_channels, dim, patch)
        axis = torch.arange(most) / (most / (config.sample_size // patch))
        self.register_buffer("positions", sincos_2d(dim, axis, axis).unflatten(0, (most, most)))
        self.time_embed = TimeEmbedding(dim)
        self.summary_embed = nn.Sequential(nn.Linear(config.summary_dim, dim), nn.SiLU(), nn.Linear(dim, dim))
        self.text_in = nn.Linear(config.text_dim, dim)
        self.blocks = nn.ModuleList(blocks)

    def patches(self, x_t: Float[Tensor, "B C H W"]) -> Float[Tensor, "B T D"]:
        """Patches, each with its place.

        Raises:
            ValueError: sides that are no multiples of the patch size, or longer than the table of positions.
        """
        rows, columns = (side // self.config.patch_size for side in x_t.shape[2:])
        return self.patches_in(x_t) + self.places(rows, columns)

    def walk(
        self,
        x: Float[Tensor, "B T D"],
        text: Float[Tensor, "B S D"],
        vector: Float[Tensor, "B D"],
        beside: Beside = NOTHING,
    ) -> Iterator[Float[Tensor, "B T D"]]:
        """The patches after each block."""
        for i, block in enumerate(self.blocks):
            text, x = self.run(block, text, x, vector, None, beside.hear(i))
            x = beside.after(i, x)
            yield x

    def places(self, rows: int, columns: int) -> Float[Tensor, "T D"]:
        """The middle of the table of positions."""
        most = self.config.max_patches
        if max(rows, columns) > most:
            raise ValueError(f"at most {most} patches a side have positions, got {rows} x {columns}")
        top, left = (most - rows) // 2, (most - columns) // 2
        return rearrange(self.positions[top : top + rows, left : left + columns], "h w d -> (h w) d")


class MMDiT(Trunk):
    """A velocity field `noise - data` over latents, given text and its summary."""

    def __init__(self, config: MMDiTConfig):
        super().__init__(config, (make_block(config, i) for i in range(config.n_layers)))
        self.norm_out = AdaptiveNorm(config.dim)
        self.proj_out = nn.Linear(config.dim, config.patch_size**2 * config.out_channels)

    def forward(
        self,
        x_t: Float[Tensor, "B C H W"],
        time: Num[Tensor, " B"],
        text: Float[Tensor, "B S E"],
        summary: Float[Tensor, "B P"],
        beside: Beside = NOTHING,
    ) -> Float[Tensor, "B O H W"]:
        """The velocity at each item's time, from 0 (data) to 1000 (noise), with what adapters add to the blocks.

        Raises:
            ValueError: sides that are no multiples of the patch size, or longer than the table of positions.
        """
        x = self.patches(x_t)
        vector = self.time_embed(time) + self.summary_embed(summary)
        for state in self.walk(x, self.text_in(text), vector, beside):
            x = state
        rows, patch = x_t.shape[2] // self.config.patch_size, self.config.patch_size
        return from_pixels(self.proj_out(self.norm_out(x, vector)), rows, patch)
