"""Blocks of networks over pictures: residual blocks, attention over all places, and changes of size.

U-Nets tell their residual blocks the time; autoencoders have none to tell.
Axes: B batch, C and D channels, H and I height, W and J width, E width of the time embedding.
"""

from collections.abc import Callable

import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from nexus.nn.attention import attend, merge_heads, split_heads

Map = Float[Tensor, "B C H W"]


class ResidualBlock(nn.Module):
    """Two convolutions after norms, and a skip around them.

    Args:
        time_dim: width of the time embedding; None for a block that is told no time.
        time_scales: the time scales and shifts normed features (ADM), else it is added before the norm.
        resize: changes the size between norm and convolution, and of the skip too.
    """

    def __init__(
        self,
        n_in: int,
        n_out: int,
        *,
        groups: int,
        eps: float,
        time_dim: int | None = None,
        time_scales: bool = False,
        dropout: float = 0.0,
        resize: Callable[[Tensor], Tensor] | None = None,
    ):
        super().__init__()
        self.time_scales, self.resize = time_scales, resize
        self.norm1 = nn.GroupNorm(groups, n_in, eps)
        self.conv1 = nn.Conv2d(n_in, n_out, 3, padding=1)
        self.time = None if time_dim is None else nn.Linear(time_dim, 2 * n_out if time_scales else n_out)
        self.norm2 = nn.GroupNorm(groups, n_out, eps)
        self.dropout = nn.Dropout(dropout)
        self.conv2 = nn.Conv2d(n_out, n_out, 3, padding=1)
        self.shortcut = nn.Conv2d(n_in, n_out, 1) if n_in != n_out else nn.Identity()

    def forward(self, x: Map, time: Float[Tensor, "B E"] | None = None) -> Float[Tensor, "B D I J"]:
        hidden = F.silu(self.norm1(x))
        if self.resize is not None:
            hidden, x = self.resize(hidden), self.resize(x)
        hidden = self.conv1(hidden)
        if self.time is None or time is None:
            hidden = self.norm2(hidden)
        else:
            hidden = self._told(hidden, self.time(F.silu(time))[:, :, None, None])
        return self.shortcut(x) + self.conv2(self.dropout(F.silu(hidden)))

    def _told(self, hidden: Tensor, time: Tensor) -> Tensor:
        if not self.time_scales:
            return self.norm2(hidden + time)
        scale, shift = time.chunk(2, dim=1)
        return self.norm2(hidden) * (1 + scale) + shift


class SpatialAttention(nn.Module):
    """Every place attends to every place."""

    def __init__(self, dim: int, *, groups: int, eps: float, n_heads: int = 1):
        super().__init__()
        self.n_heads = n_heads
        self.norm = nn.GroupNorm(groups, dim, eps)
        self.qkv = nn.Linear(dim, 3 * dim)
        self.out = nn.Linear(dim, dim)

    def forward(self, x: Map) -> Map:
        places = rearrange(self.norm(x), "b c h w -> b (h w) c")
        q, k, v = (split_heads(part, self.n_heads) for part in self.qkv(places).chunk(3, dim=-1))
        out = self.out(merge_heads(attend(q, k, v)))
        return x + rearrange(out, "b (h w) c -> b c h w", h=x.shape[2])


class Downsample(nn.Module):
    """A strided convolution; with `pad_end` it sees a row and a column beyond the end, else one around."""

    def __init__(self, dim: int, pad_end: bool):
        super().__init__()
        self.pad_end = pad_end
        self.conv = nn.Conv2d(dim, dim, 3, stride=2, padding=0 if pad_end else 1)

    def forward(self, x: Map) -> Float[Tensor, "B C I J"]:
        return self.conv(F.pad(x, (0, 1, 0, 1)) if self.pad_end else x)


class Upsample(nn.Module):
    """Every pixel four times, then a convolution; to `size` where it is not exactly twice as large."""

    def __init__(self, dim: int):
        super().__init__()
        self.conv = nn.Conv2d(dim, dim, 3, padding=1)

    def forward(self, x: Map, size: tuple[int, int] | None = None) -> Float[Tensor, "B C I J"]:
        return self.conv(double(x) if size is None else F.interpolate(x, size=size, mode="nearest"))


def double(x: Map) -> Float[Tensor, "B C I J"]:
    return F.interpolate(x, scale_factor=2.0, mode="nearest")


def halve(x: Map) -> Float[Tensor, "B C I J"]:
    return F.avg_pool2d(x, 2)
