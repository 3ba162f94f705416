"""The network of DiT (arXiv:2212.09748): a transformer over patches of latents, told the step and the class by adaptive
layer norms whose gates start at zero ("adaLN-zero").

Axes: B batch, C latent channels, O channels out, H height, W width, T patches (row by row), D width.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int, Num
from torch import Tensor, nn

from nexus.nn.modulation import AdaptiveNorm, Modulation, modulate
from nexus.nn.patch import PatchEmbed, from_pixels, grid_positions
from nexus.nn.recompute import Recomputing
from nexus.nn.self_attention import SelfAttention
from nexus.nn.time_embed import TimeEmbedding


@dataclass(frozen=True, kw_only=True)
class DiTTransformerConfig:
    """Sizes; the defaults are DiT-XL/2's for pictures of 256 pixels, as the authors trained it."""

    n_layers: int = 28
    n_heads: int = 16
    head_dim: int = 72
    in_channels: int = 4
    out_channels: int = 8  # the second half, a learnt variance, is left unused by samplers
    patch_size: int = 2
    sample_size: int = 32  # side of the latents it was trained on
    n_classes: int = 1000
    ff_norm_eps: float = 1e-6  # diffusers' copies of the weights are run with 1e-5 before the feed-forward
    time_shift: float = 0.0  # and with sinusoids of this 1 (`timestep_embedding`)

    def __post_init__(self):
        if self.dim % 4:
            raise ValueError(f"sine-cosine positions of two axes need a width in multiples of 4, got {self.dim}")
        if self.sample_size % self.patch_size:
            raise ValueError(f"sample_size {self.sample_size} must be in multiples of patch_size {self.patch_size}")
        if self.out_channels not in (self.in_channels, 2 * self.in_channels):
            raise ValueError(f"out_channels are in_channels or twice as many, got {self.out_channels}")

    @property
    def dim(self) -> int:
        return self.n_heads * self.head_dim

    @classmethod
    def xl_2(cls, pixels: int = 256) -> "DiTTransformerConfig":
        return cls(sample_size=pixels // 8)


class Block(nn.Module):
    def __init__(self, config: DiTTransformerConfig):
        super().__init__()
        dim = config.dim
        self.eps = config.ff_norm_eps
        self.modulation = Modulation(dim, 6)
        self.attn = SelfAttention(dim, config.n_heads)
        self.ff = nn.Sequential(nn.Linear(dim, 4 * dim), nn.GELU(approximate="tanh"), nn.Linear(4 * dim, dim))

    def forward(self, x: Float[Tensor, "B T D"], vector: Float[Tensor, "B D"]) -> Float[Tensor, "B T D"]:
        shift, scale, gate, ff_shift, ff_scale, ff_gate = self.modulation(vector)
        x = torch.addcmul(x, gate, self.attn(modulate(x, shift, scale)))
        return torch.addcmul(x, ff_gate, self.ff(modulate(x, ff_shift, ff_scale, self.eps)))


class DiTTransformer(Recomputing):
    """A network `(x_t, step, label) -> prediction`; label `n_classes` is none of them."""

    def __init__(self, config: DiTTransformerConfig):
        super().__init__()
        self.config = config
        dim, patch = config.dim, config.patch_size
        self.patches_in = PatchEmbed(config.in_channels, dim, patch)
        self.time_embed = TimeEmbedding(dim, shift=config.time_shift)
        self.class_embed = nn.Embedding(config.n_classes + 1, dim)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.n_layers))
        self.norm_out = AdaptiveNorm(dim)
        self.proj_out = nn.Linear(dim, patch * patch * config.out_channels)
        nn.init.normal_(self.class_embed.weight, std=0.02)

    def forward(
        self, x_t: Float[Tensor, "B C H W"], step: Num[Tensor, " B"], label: Int[Tensor, " B"]
    ) -> Float[Tensor, "B O H W"]:
        """The prediction at each item's step. A grid of another size is stretched over the one of training.

        Raises:
            ValueError: sides that are no multiples of the patch size.
        """
        config = self.config
        x = self.patches_in(x_t)
        rows, columns = (side // config.patch_size for side in x_t.shape[2:])
        base = config.sample_size // config.patch_size
        x = x + grid_positions(config.dim, rows, columns, base=base, device=x.device).to(x.dtype)
        vector = self.time_embed(step) + self.class_embed(label)
        for block in self.blocks:
            x = self.run(block, x, vector)
        return from_pixels(self.proj_out(self.norm_out(x, vector)), rows, config.patch_size)
