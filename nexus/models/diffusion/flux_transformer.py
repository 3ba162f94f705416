"""FLUX.1's network (Black Forest Labs, 2024; no paper): blocks of two streams as in MM-DiT, then blocks of one stream
in which attention and feed-forward run side by side; rotary positions on three axes.

Axes: B batch, C latent channels, H height, W width, S text tokens, T patches (row by row), D width, P width of the
text's summary.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from nexus.nn.attention import attend, merge_heads, split_heads
from nexus.nn.beside import NOTHING, Beside
from nexus.nn.joint import JointBlock, Stream
from nexus.nn.modulation import AdaptiveNorm, Modulation, modulate
from nexus.nn.patch import PatchEmbed, from_patches
from nexus.nn.recompute import Recomputing
from nexus.nn.rope import Rotation, apply_rope, rope_frequencies_of_axes
from nexus.nn.time_embed import TimeEmbedding


@dataclass(frozen=True, kw_only=True)
class FluxTransformerConfig:
    """Sizes; the defaults are FLUX.1 [dev]'s (12 billion parameters)."""

    n_double_layers: int = 19
    n_single_layers: int = 38
    n_heads: int = 24
    head_dim: int = 128
    in_channels: int = 16
    out_channels: int = 16
    text_dim: int = 4096
    summary_dim: int = 768
    patch_size: int = 2
    rope_dims: tuple[int, ...] = (16, 56, 56)  # of each head, for an axis not used, for rows and for columns
    guidance: bool = True  # told a guidance scale, whose effect it learnt from a guided model (distillation)

    def __post_init__(self):
        if len(self.rope_dims) != 3 or sum(self.rope_dims) != self.head_dim or any(d % 2 for d in self.rope_dims):
            raise ValueError(
                f"rope_dims are three even numbers that sum to head_dim {self.head_dim}, got {self.rope_dims}"
            )

    @property
    def dim(self) -> int:
        return self.n_heads * self.head_dim

    @classmethod
    def schnell(cls) -> "FluxTransformerConfig":
        return cls(guidance=False)


class SingleBlock(nn.Module):
    """Text and patches as one sequence; attention and feed-forward read the same and are summed by one layer."""

    def __init__(self, dim: int, n_heads: int):
        super().__init__()
        self.n_heads = n_heads
        self.modulation = Modulation(dim, 3)
        self.wide_in = nn.Linear(dim, 7 * dim)  # queries, keys, values and the feed-forward's four times the width
        self.q_norm = nn.RMSNorm(dim // n_heads, eps=1e-6)
        self.k_norm = nn.RMSNorm(dim // n_heads, eps=1e-6)
        self.wide_out = nn.Linear(5 * dim, dim)

    def forward(
        self, x: Float[Tensor, "B T D"], vector: Float[Tensor, "B D"], rotation: Rotation
    ) -> Float[Tensor, "B T D"]:
        shift, scale, gate = self.modulation(vector)
        dim = x.shape[-1]
        *heads, hidden = self.wide_in(modulate(x, shift, scale)).split([dim, dim, dim, 4 * dim], dim=-1)
        q, k, v = (split_heads(part, self.n_heads) for part in heads)
        q, k = apply_rope(self.q_norm(q), *rotation), apply_rope(self.k_norm(k), *rotation)
        both = torch.cat([merge_heads(attend(q, k, v)), F.gelu(hidden, approximate="tanh")], dim=-1)
        return torch.addcmul(x, gate, self.wide_out(both))


class Trunk(Recomputing):
    """What FLUX and its ControlNet share: the way in, and a walk through blocks."""

    def __init__(self, config: FluxTransformerConfig):
        super().__init__()
        self.config = config
        dim, n_heads = config.dim, config.n_heads
        self.patches_in = PatchEmbed(config.in_channels, dim, config.patch_size)
        self.text_in = nn.Linear(config.text_dim, dim)
        self.time_embed = TimeEmbedding(dim)
        self.guidance_embed = TimeEmbedding(dim) if config.guidance else None
        self.summary_embed = nn.Sequential(nn.Linear(config.summary_dim, dim), nn.SiLU(), nn.Linear(dim, dim))
        self.double_blocks = nn.ModuleList(
            JointBlock(Stream(dim, n_heads, True), Stream(dim, n_heads, True)) for _ in range(config.n_double_layers)
        )
        self.single_blocks = nn.ModuleList(SingleBlock(dim, n_heads) for _ in range(config.n_single_layers))

    def vector(
        self, time: Float[Tensor, " B"], summary: Float[Tensor, "B P"], guidance: Float[Tensor, " B"] | None
    ) -> Float[Tensor, "B D"]:
        """What modulates all blocks.

        Raises:
            ValueError: a guidance too many or too few.
        """
        if (guidance is None) == self.config.guidance:
            wanted = "give the `guidance` that it is told" if self.config.guidance else "it is told no `guidance`"
            raise ValueError(f"this network: {wanted}")
        vector = self.time_embed(time) + self.summary_embed(summary)
        if self.guidance_embed is not None and guidance is not None:
            vector = vector + self.guidance_embed(guidance * 1000)
        return vector

    def walk(
        self,
        x: Float[Tensor, "B T D"],
        text: Float[Tensor, "B S D"],
        vector: Float[Tensor, "B D"],
        rotation: Rotation,
        beside: Beside = NOTHING,
    ) -> Iterator[Float[Tensor, "B T D"]]:
        """The patches after each block, those of two streams first."""
        for i, block in enumerate(self.double_blocks):
            text, x = self.run(block, text, x, vector, rotation, beside.hear(i))
            x = beside.after(i, x)
            yield x
        n_text, both = text.shape[1], torch.cat([text, x], dim=1)
        still = tuple(F.pad(part, (0, 0, n_text, 0), value=1 - i) for i, part in enumerate(rotation))
        for i, block in enumerate(self.single_blocks, len(self.double_blocks)):
            both = beside.after(i, self.run(block, both, vector, still), n_text)
            yield both[:, n_text:]


class FluxTransformer(Trunk):
    """A velocity field `noise - data` over latents, given text and its summary."""

    def __init__(self, config: FluxTransformerConfig):
        super().__init__(config)
        self.norm_out = AdaptiveNorm(config.dim)
        self.proj_out = nn.Linear(config.dim, config.patch_size**2 * config.out_channels)

    def forward(
        self,
        x_t: Float[Tensor, "B C H W"],
        time: Float[Tensor, " B"],
        text: Float[Tensor, "B S E"],
        summary: Float[Tensor, "B P"],
        guidance: Float[Tensor, " B"] | None = None,
        beside: Beside = NOTHING,
    ) -> Float[Tensor, "B O H W"]:
        """The velocity at each item's time, from 0 (data) to 1000 (noise).

        Args:
            guidance: the guidance scale of each item, for networks that are told one.
            beside: what adapters add to the blocks, those of two streams first.

        Raises:
            ValueError: sides that are no multiples of the patch size; a guidance too many or too few.
        """
        vector, x = self.vector(time, summary, guidance), self.patches_in(x_t)
        rows, columns = (side // self.config.patch_size for side in x_t.shape[2:])
        rotation = turns(self.config.rope_dims, rows, columns, x.device)
        for state in self.walk(x, self.text_in(text), vector, rotation, beside):
            x = state
        return from_patches(self.proj_out(self.norm_out(x, vector)), rows, self.config.patch_size)


@lru_cache(maxsize=8)
@torch.inference_mode(False)
def turns(dims: tuple[int, ...], rows: int, columns: int, device: torch.device) -> Rotation:
    """Cosines and sines of patches at (0, row, column); text stands at the origin and is not turned."""
    with torch.device("cpu"):
        grid = torch.meshgrid(torch.arange(1.0), torch.arange(rows * 1.0), torch.arange(columns * 1.0), indexing="ij")
        cos, sin = rope_frequencies_of_axes(dims, [axis.flatten().double() for axis in grid])
        return cos.float().to(device), sin.float().to(device)
