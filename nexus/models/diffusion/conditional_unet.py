"""Stable Diffusion's U-Net (arXiv:2112.10752; XL: arXiv:2307.01952): a U-Net whose blocks hear a text.

The way down and the middle are a class of their own, which ControlNet (arXiv:2302.05543) copies; what that adds to the
skips comes in as `Residuals`.

Axes: B batch, C channels, H height, W width, S tokens, D text width, E width of the time embedding, P pooled width,
K sizes that are told.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Num
from torch import Tensor, nn

from nexus.models.diffusion.spatial_transformer import CrossAttention, SpatialTransformer, Told
from nexus.models.diffusion.unet_plan import widths
from nexus.nn.embed import timestep_embedding
from nexus.nn.image_blocks import Downsample, ResidualBlock, Upsample
from nexus.nn.recompute import Recomputing

Map = Float[Tensor, "B C H W"]


@dataclass(frozen=True, kw_only=True)
class ConditionalUNetConfig:
    """The defaults are Stable Diffusion 1.5's."""

    in_channels: int = 4  # 9 for inpainting: latents, mask, latents of what is to be kept
    out_channels: int = 4
    dims: tuple[int, ...] = (320, 640, 1280, 1280)  # channels at each size, each half of the one before
    n_blocks: int = 2  # at each size on the way down; one more on the way up
    n_layers: tuple[int, ...] = (1, 1, 1, 0)  # of each block's transformer, at each size
    n_middle: int = 1  # layers of the transformer in the middle
    n_heads: tuple[int, ...] = (8, 8, 8, 8)  # at each size; the last in the middle too
    text_dim: int = 768
    norm_groups: int = 32
    norm_eps: float = 1e-5
    dropout: float = 0.0
    added_dim: int | None = None  # of the pooled text beside the embedded sizes (XL)
    size_dim: int = 256  # each size is embedded in
    guidance_dim: int | None = None  # of the embedded guidance scale (LCM)

    def __post_init__(self):
        if not len(self.dims) == len(self.n_layers) == len(self.n_heads) or not self.dims:
            raise ValueError(f"n_layers and n_heads have one entry for each of dims {self.dims}")
        wrong = next((dim for dim in self.dims if dim % self.norm_groups), None)
        if wrong is not None:
            raise ValueError(f"dims must be multiples of norm_groups {self.norm_groups}, got {wrong}")
        heads = zip(self.dims, self.n_heads, (*self.n_layers[:-1], self.n_middle), strict=True)
        odd = next(((dim, n) for dim, n, layers in heads if layers and dim % n), None)
        if odd is not None:
            raise ValueError(f"{odd[0]} channels can't be cut into {odd[1]} heads")

    @classmethod
    def sd_21(cls) -> "ConditionalUNetConfig":
        return cls(n_heads=(5, 10, 20, 20), text_dim=1024)

    @classmethod
    def sdxl(cls) -> "ConditionalUNetConfig":
        return cls(
            dims=(320, 640, 1280),
            n_layers=(0, 2, 10),
            n_middle=10,
            n_heads=(5, 10, 20),
            text_dim=2048,
            added_dim=1280 + 6 * 256,
        )


class Residuals(NamedTuple):
    """What is added to each skip on the way down, in order, and to what the middle gives."""

    skips: list[Map]
    middle: Map


class Conditions(nn.Module):
    """The embedding of the time, of the guidance scale and of sizes and pooled text where the network knows them."""

    def __init__(self, config: ConditionalUNetConfig):
        super().__init__()
        self.config, dim = config, 4 * config.dims[0]
        self.time = nn.Sequential(nn.Linear(config.dims[0], dim), nn.SiLU(), nn.Linear(dim, dim))
        self.guidance = nn.Linear(config.guidance_dim, config.dims[0], bias=False) if config.guidance_dim else None
        self.added = (
            nn.Sequential(nn.Linear(config.added_dim, dim), nn.SiLU(), nn.Linear(dim, dim))
            if config.added_dim
            else None
        )

    def forward(
        self,
        step: Num[Tensor, " B"],
        pooled: Float[Tensor, "B P"] | None,
        sizes: Num[Tensor, "B K"] | None,
        guidance: Num[Tensor, " B"] | None,
    ) -> Float[Tensor, "B E"]:
        self._check(pooled, sizes, guidance)
        dtype = next(self.time.parameters()).dtype
        time = timestep_embedding(step, self.config.dims[0]).to(dtype)
        if self.guidance is not None and guidance is not None:
            # LCM (arXiv:2310.04378) tells how far beyond 1, sines before cosines.
            told = timestep_embedding(1000 * (guidance - 1), self.guidance.in_features, shift=1)
            time = time + self.guidance(torch.cat(told.chunk(2, dim=-1)[::-1], dim=-1).to(dtype))
        embedded = self.time(time)
        if self.added is not None and pooled is not None and sizes is not None:
            told = timestep_embedding(sizes.flatten(), self.config.size_dim).to(dtype).reshape(len(sizes), -1)
            embedded = embedded + self.added(torch.cat([pooled, told], dim=-1))
        return embedded

    def _check(self, pooled: Tensor | None, sizes: Tensor | None, guidance: Tensor | None) -> None:
        for layer, given, what in (
            (self.added, pooled, "pooled text"),
            (self.added, sizes, "sizes"),
            (self.guidance, guidance, "guidance scale"),
        ):
            if (layer is None) != (given is None):
                raise ValueError(f"this network {'knows no' if layer is None else 'must be told'} {what}")


class Stage(nn.Module):
    """What happens at one size: residual blocks, a transformer after each, and the way to the next size."""

    def __init__(self, blocks: list[ResidualBlock], transformers: list[SpatialTransformer], resample: nn.Module | None):
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.transformers = nn.ModuleList(transformers)
        self.resample = resample

    def step(self, i: int, x: Tensor, time: Tensor, told: Told) -> Tensor:
        x = self.blocks[i](x, time)
        return self.transformers[i](x, told) if self.transformers else x


def block(config: ConditionalUNetConfig, n_in: int, n_out: int) -> ResidualBlock:
    return ResidualBlock(
        n_in,
        n_out,
        groups=config.norm_groups,
        eps=config.norm_eps,
        time_dim=4 * config.dims[0],
        dropout=config.dropout,
    )


def stage(config: ConditionalUNetConfig, size: int, widths: list[tuple[int, int]], resample: nn.Module | None) -> Stage:
    """The blocks of the `size`-th size, and its transformers where it has any."""
    transformers = [
        SpatialTransformer(
            n_out,
            config.text_dim,
            n_layers=config.n_layers[size],
            n_heads=config.n_heads[size],
            groups=config.norm_groups,
        )
        for _, n_out in widths
        if config.n_layers[size]
    ]
    return Stage([block(config, n_in, n_out) for n_in, n_out in widths], transformers, resample)


class Contraction(Recomputing):
    """The way down and the middle, shared by the U-Net and by ControlNet."""

    def __init__(self, config: ConditionalUNetConfig):
        super().__init__()
        self.config, dims = config, config.dims
        self.conditions = Conditions(config)
        self.conv_in = nn.Conv2d(config.in_channels, dims[0], 3, padding=1)
        down, _ = widths(dims, config.n_blocks)
        self.down = nn.ModuleList(
            stage(config, i, blocks, Downsample(dims[i], pad_end=False) if i < len(dims) - 1 else None)
            for i, blocks in enumerate(down)
        )
        middle = SpatialTransformer(
            dims[-1],
            config.text_dim,
            n_layers=config.n_middle,
            n_heads=config.n_heads[-1],
            groups=config.norm_groups,
        )
        self.middle = nn.ModuleList([block(config, dims[-1], dims[-1]), middle, block(config, dims[-1], dims[-1])])

    def hear(self, text: Float[Tensor, "B S D"]) -> Told:
        """Keys and values of the text for every cross-attention, the same at every step."""
        return {attention: [attention.hear(text)] for attention in self.cross_attentions()}

    def cross_attentions(self) -> Iterator[CrossAttention]:
        """In order: down, the middle, up."""
        return (module for module in self.modules() if isinstance(module, CrossAttention))

    def contract(self, x: Map, time: Float[Tensor, "B E"], told: Told) -> Residuals:
        """The skips and what the middle gives, of features that `conv_in` made."""
        skips = [x]
        for stage in self.down:
            assert isinstance(stage, Stage)
            for i in range(len(stage.blocks)):
                skips.append(x := self.run(stage.step, i, x, time, told))
            if stage.resample is not None:
                skips.append(x := stage.resample(x))
        return Residuals(skips, self.middle[2](self.middle[1](self.middle[0](x, time), told), time))


class ConditionalUNet(Contraction):
    """A network `(x_t, step, text) -> prediction` for `nexus.process.diffusion`, once its text is bound."""

    def __init__(self, config: ConditionalUNetConfig):
        super().__init__(config)
        dims, last = config.dims, len(config.dims) - 1
        _, up = widths(dims, config.n_blocks)
        self.up = nn.ModuleList(
            stage(config, last - i, blocks, Upsample(dims[last - i]) if i < last else None)
            for i, blocks in enumerate(up)
        )
        self.norm_out = nn.GroupNorm(config.norm_groups, dims[0], config.norm_eps)
        self.conv_out = nn.Conv2d(dims[0], config.out_channels, 3, padding=1)

    def forward(
        self,
        x: Map,
        step: Num[Tensor, " B"],
        text: Float[Tensor, "B S D"] | Told,
        *,
        pooled: Float[Tensor, "B P"] | None = None,
        sizes: Num[Tensor, "B K"] | None = None,
        guidance: Num[Tensor, " B"] | None = None,
        residuals: Residuals | None = None,
    ) -> Float[Tensor, "B O H W"]:
        """The prediction at each item's step, for any height and width.

        Args:
            text: states of the prompt, or what `hear` made of them.
            pooled, sizes: XL's; sizes in pixels, such as height and width before cropping, top and left of the crop,
                height and width wanted.
            guidance: the scale that a distilled network (LCM) is told.
            residuals: ControlNet's, one for each skip and one for the middle.

        Raises:
            ValueError: pooled text, sizes or guidance that the network lacks or does not know.
        """
        told = self.hear(text) if isinstance(text, Tensor) else text
        time = self.conditions(step, pooled, sizes, guidance)
        skips, x = self.contract(self.conv_in(x), time, told)
        if residuals is not None:
            skips = [skip + more for skip, more in zip(skips, residuals.skips, strict=True)]
            x = x + residuals.middle
        for stage in self.up:
            assert isinstance(stage, Stage)
            for i in range(len(stage.blocks)):
                x = self.run(stage.step, i, torch.cat([x, skips.pop()], dim=1), time, told)
            if stage.resample is not None:
                x = stage.resample(x, tuple(skips[-1].shape[2:]))
        return self.conv_out(F.silu(self.norm_out(x)))
