"""The U-Net of DDPM (arXiv:2006.11239, appendix B) and of ADM (arXiv:2105.05233, section 3).

Residual blocks that are told the time, self-attention at some sizes, and skips from each size on the way down to the
same size on the way up.
Axes: B batch, C channels, H height, W width, E width of the time embedding.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int, Num
from torch import Tensor, nn

from nexus.models.diffusion.unet_plan import widths
from nexus.nn.embed import timestep_embedding
from nexus.nn.image_blocks import Downsample, Map, ResidualBlock, SpatialAttention, Upsample, double, halve


@dataclass(frozen=True, kw_only=True)
class UNetConfig:
    """The defaults are DDPM's for CIFAR-10."""

    in_channels: int = 3
    out_channels: int = 3
    dims: tuple[int, ...] = (128, 256, 256, 256)  # channels at each size, each half of the one before
    n_blocks: int = 2  # at each size on the way down; one more on the way up
    attention: tuple[bool, ...] = (False, True, False, False)  # at which sizes
    head_dim: int | None = None  # None: a single head
    norm_groups: int = 32
    norm_eps: float = 1e-6
    dropout: float = 0.0
    n_classes: int | None = None
    time_order: Literal["sin_cos", "cos_sin"] = "sin_cos"
    time_shift: float = 1.0  # of the number of frequencies: 1 makes the last one 1 / 10000 exactly
    time_scales: bool = False  # the time scales and shifts normed features (ADM), else is added before the norm
    resample: Literal["conv", "block"] = "conv"  # by a convolution (DDPM), or within a residual block (ADM)
    pad_end: bool = True  # strided convolutions see a row and a column beyond the end, not around

    def __post_init__(self):
        if not self.dims or len(self.attention) != len(self.dims):
            raise ValueError(f"attention has one entry for each of dims, got {self.attention} for {self.dims}")
        wrong = next((dim for dim in self.dims if dim % self.norm_groups), None)
        if wrong is not None:
            raise ValueError(f"dims must be multiples of norm_groups {self.norm_groups}, got {wrong}")

    @property
    def multiple(self) -> int:
        """Heights and widths must be multiples of it."""
        return 2 ** (len(self.dims) - 1)


class Stage(nn.Module):
    """What happens at one size: residual blocks, each perhaps with attention, and the way to the next size."""

    def __init__(self, blocks: list[ResidualBlock], attentions: list[SpatialAttention], resample: nn.Module | None):
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.attentions = nn.ModuleList(attentions)
        self.resample = resample

    def step(self, i: int, x: Tensor, time: Tensor) -> Tensor:
        x = self.blocks[i](x, time)
        return self.attentions[i](x) if self.attentions else x

    def leave(self, x: Tensor, time: Tensor) -> Tensor:
        """To the next size."""
        assert self.resample is not None
        return self.resample(x, time) if isinstance(self.resample, ResidualBlock) else self.resample(x)


class UNet(nn.Module):
    """A network `(x_t, step) -> prediction` for `nexus.process.diffusion`."""

    def __init__(self, config: UNetConfig):
        super().__init__()
        self.config, dims = config, config.dims
        self.conv_in = nn.Conv2d(config.in_channels, dims[0], 3, padding=1)
        self.time_embed = nn.Sequential(nn.Linear(dims[0], 4 * dims[0]), nn.SiLU(), nn.Linear(4 * dims[0], 4 * dims[0]))
        self.class_embed = nn.Embedding(config.n_classes, 4 * dims[0]) if config.n_classes else None
        down, up = widths(dims, config.n_blocks)
        last = len(dims) - 1
        self.down = nn.ModuleList(
            self._stage(widths, config.attention[i], None if i == last else self._down(dims[i]))
            for i, widths in enumerate(down)
        )
        self.middle = nn.ModuleList(
            [self._block(dims[-1], dims[-1]), self._attention(dims[-1]), self._block(dims[-1], dims[-1])]
        )
        self.up = nn.ModuleList(
            self._stage(widths, config.attention[last - i], None if i == last else self._up(dims[last - i]))
            for i, widths in enumerate(up)
        )
        self.norm_out = nn.GroupNorm(config.norm_groups, dims[0], config.norm_eps)
        self.conv_out = nn.Conv2d(dims[0], config.out_channels, 3, padding=1)

    def _block(self, n_in: int, n_out: int, resize: Callable[[Tensor], Tensor] | None = None) -> ResidualBlock:
        c = self.config
        return ResidualBlock(
            n_in,
            n_out,
            groups=c.norm_groups,
            eps=c.norm_eps,
            time_dim=4 * c.dims[0],
            time_scales=c.time_scales,
            dropout=c.dropout,
            resize=resize,
        )

    def _attention(self, dim: int) -> SpatialAttention:
        c = self.config
        n_heads = dim // (c.head_dim or dim)
        return SpatialAttention(dim, groups=c.norm_groups, eps=c.norm_eps, n_heads=n_heads)

    def _stage(self, widths: list[tuple[int, int]], attention: bool, resample: nn.Module | None) -> Stage:
        attentions = [self._attention(n_out) for _, n_out in widths if attention]
        return Stage([self._block(n_in, n_out) for n_in, n_out in widths], attentions, resample)

    def _down(self, dim: int) -> nn.Module:
        block = self.config.resample == "block"
        return self._block(dim, dim, halve) if block else Downsample(dim, self.config.pad_end)

    def _up(self, dim: int) -> nn.Module:
        return self._block(dim, dim, double) if self.config.resample == "block" else Upsample(dim)

    def forward(
        self,
        x: Map,
        step: Num[Tensor, " B"],
        label: Int[Tensor, " B"] | None = None,
        told: Float[Tensor, "B D"] | None = None,
    ) -> Float[Tensor, "B O H W"]:
        """The prediction at each item's step.

        Args:
            label: the class of each item, where the network knows classes.
            told: what is added to the time's sines and cosines, as wide as `dims[0]` (LCM's guidance).

        Raises:
            ValueError: sides that can't be halved as often as there are sizes, or a label too many or too few.
        """
        self._check(x, label)
        time = self._time(step, x.dtype, told)
        if self.class_embed is not None and label is not None:
            time = time + self.class_embed(label)
        skips = [x := self.conv_in(x)]
        for stage in self.down:
            assert isinstance(stage, Stage)
            for i in range(len(stage.blocks)):
                skips.append(x := stage.step(i, x, time))
            if stage.resample is not None:
                skips.append(x := stage.leave(x, time))
        x = self.middle[2](self.middle[1](self.middle[0](x, time)), time)
        for stage in self.up:
            assert isinstance(stage, Stage)
            for i in range(len(stage.blocks)):
                x = stage.step(i, torch.cat([x, skips.pop()], dim=1), time)
            if stage.resample is not None:
                x = stage.leave(x, time)
        return self.conv_out(F.silu(self.norm_out(x)))

    def _time(self, step: Num[Tensor, " B"], dtype: torch.dtype, told: Tensor | None) -> Float[Tensor, "B E"]:
        config = self.config
        embedding = timestep_embedding(step, config.dims[0], shift=config.time_shift)
        if config.time_order == "sin_cos":
            embedding = torch.cat(embedding.chunk(2, dim=-1)[::-1], dim=-1)
        embedding = embedding.to(dtype)
        return self.time_embed(embedding if told is None else embedding + told)

    def _check(self, x: Tensor, label: Tensor | None) -> None:
        multiple = self.config.multiple
        if x.shape[2] % multiple or x.shape[3] % multiple:
            nearest = [max(round(side / multiple), 1) * multiple for side in x.shape[2:]]
            raise ValueError(
                f"height and width must be multiples of {multiple}, got {list(x.shape[2:])}; nearest is {nearest}"
            )
        if (label is None) == (self.class_embed is not None):
            known = (
                f"{self.config.n_classes} classes and needs" if self.class_embed is not None else "no classes: leave"
            )
            raise ValueError(f"this network knows {known} label")
