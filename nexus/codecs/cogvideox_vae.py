"""CogVideoX's causal 3D autoencoder (arXiv:2408.06072, section 2.1): 8k + 1 frames to 2k + 1 latents, 8 x 8 smaller.

Convolutions look back in time only, so frames are coded chunk by chunk: each keeps its last two input frames for the
next chunk. Group norms see one chunk at a time, so the result depends on the chunk size, which is the reference's.

Axes: B batch, C channels, F frames, H height, W width, D latent channels.
"""

import math
from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from nexus.nn.layout import joined_frames

# The frames each convolution keeps for the next chunk, filled as a chunk goes through; a new clip starts with {}.
Kept = dict[nn.Module, Tensor]


@dataclass(frozen=True, kw_only=True)
class CogVideoXVAEConfig:
    block_out_channels: tuple[int, ...] = (128, 256, 256, 512)
    layers_per_block: int = 3
    latent_channels: int = 16
    norm_num_groups: int = 32
    temporal_compression_ratio: int = 4
    scaling_factor: float = 1.15258426
    frames_per_chunk: int = 8  # frames encoded at once; latents decoded at once are this / temporal_compression_ratio

    def __post_init__(self):
        if any(channels % self.norm_num_groups for channels in self.block_out_channels):
            raise ValueError(f"norm_num_groups {self.norm_num_groups} must divide {self.block_out_channels}")
        if self.frames_per_chunk % (2 * self.temporal_compression_ratio):
            raise ValueError("frames_per_chunk must be an even number of times temporal_compression_ratio")

    @property
    def spatial_compression_ratio(self) -> int:
        return 2 ** (len(self.block_out_channels) - 1)

    @property
    def time_levels(self) -> int:
        """How many of the outer blocks halve time."""
        return int(math.log2(self.temporal_compression_ratio))


class CausalConv3d(nn.Module):
    """3D convolution that pads the past: with the frames kept from the chunk before, else with the first frame."""

    def __init__(self, dim_in: int, dim_out: int, kernel_size: int):
        super().__init__()
        self.past = kernel_size - 1
        self.conv = nn.Conv3d(dim_in, dim_out, kernel_size, padding=(0, kernel_size // 2, kernel_size // 2))

    def forward(self, x: Float[Tensor, "B C F H W"], kept: Kept) -> Float[Tensor, "B D F H W"]:
        if self.past:
            before = kept.get(self)
            if before is None:
                before = x[:, :, :1].expand(-1, -1, self.past, -1, -1)
            x = joined_frames(before, x)
            kept[self] = x[:, :, -self.past :]
        return self.conv(x)


class SpatialNorm(nn.Module):
    """Group norm scaled and shifted by the latents at the same place (arXiv:2209.09002)."""

    def __init__(self, dim: int, latent_dim: int, groups: int):
        super().__init__()
        self.norm_layer = nn.GroupNorm(groups, dim, eps=1e-6)
        self.conv_y = CausalConv3d(latent_dim, dim, 1)
        self.conv_b = CausalConv3d(latent_dim, dim, 1)
        # Starts as a plain group norm: random scales in every block would drown the signal before anything is learned.
        for conv, bias in ((self.conv_y.conv, 1.0), (self.conv_b.conv, 0.0)):
            nn.init.zeros_(conv.weight)
            nn.init.constant_(conv.bias, bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor, kept: Kept, latent: Tensor) -> Tensor:
        # 1 x 1 x 1 convolutions commute with nearest-neighbour enlargement, and are cheap before it.
        scale, shift = (_enlarge_to(conv(latent, kept), x) for conv in (self.conv_y, self.conv_b))
        return self.norm_layer(x) * scale + shift


def _enlarge_to(latent: Tensor, x: Tensor) -> Tensor:
    """Nearest neighbours of the size of `x`; the first of an odd number of frames stands for itself alone."""
    if x.shape[2] > 1 and x.shape[2] % 2 == 1:
        first = F.interpolate(latent[:, :, :1], size=(1, *x.shape[3:]))
        rest = F.interpolate(latent[:, :, 1:], size=(x.shape[2] - 1, *x.shape[3:]))
        return joined_frames(first, rest)
    return F.interpolate(latent, size=x.shape[2:])


class GroupNorm(nn.GroupNorm):
    """The encoder's norm, called as `SpatialNorm` is."""

    def forward(self, x: Tensor, kept: Kept, latent: Tensor | None = None) -> Tensor:  # type: ignore[override]
        return super().forward(x)


def _norm(dim: int, latent_dim: int | None, groups: int) -> nn.Module:
    return GroupNorm(groups, dim, eps=1e-6) if latent_dim is None else SpatialNorm(dim, latent_dim, groups)


class ResnetBlock(nn.Module):
    def __init__(self, dim_in: int, dim_out: int, groups: int, latent_dim: int | None = None):
        super().__init__()
        self.norm1 = _norm(dim_in, latent_dim, groups)
        self.conv1 = CausalConv3d(dim_in, dim_out, 3)
        self.norm2 = _norm(dim_out, latent_dim, groups)
        self.conv2 = CausalConv3d(dim_out, dim_out, 3)
        self.conv_shortcut = nn.Conv3d(dim_in, dim_out, 1) if dim_in != dim_out else None

    def forward(self, x: Tensor, kept: Kept, latent: Tensor | None = None) -> Tensor:
        h = self.conv1(F.silu(self.norm1(x, kept, latent)), kept)
        h = self.conv2(F.silu(self.norm2(h, kept, latent)), kept)
        return h + (x if self.conv_shortcut is None else self.conv_shortcut(x))


class Downsample(nn.Module):
    """Halves height and width, and time where asked (the first of an odd number of frames is left alone)."""

    def __init__(self, dim: int, compress_time: bool):
        super().__init__()
        self.conv = nn.Conv2d(dim, dim, 3, stride=2)
        self.compress_time = compress_time

    def forward(self, x: Tensor) -> Tensor:
        n = len(x)
        if self.compress_time:
            odd = x.shape[2] % 2
            first, rest = x[:, :, :odd], x[:, :, odd:]
            if rest.shape[2]:
                rest = F.avg_pool3d(rest, (2, 1, 1), stride=(2, 1, 1))
            x = joined_frames(first, rest)
        x = F.pad(rearrange(x, "b c f h w -> (b f) c h w"), (0, 1, 0, 1))
        return rearrange(self.conv(x), "(b f) c h w -> b c f h w", b=n)


class Upsample(nn.Module):
    """Doubles height and width, and time where asked (the first of an odd number of frames is left alone)."""

    def __init__(self, dim: int, compress_time: bool):
        super().__init__()
        self.conv = nn.Conv2d(dim, dim, 3, padding=1)
        self.compress_time = compress_time

    def forward(self, x: Tensor) -> Tensor:
        n, in_time = len(x), self.compress_time and x.shape[2] > 1
        odd = x.shape[2] % 2 if in_time else 0
        parts = [F.interpolate(x[:, :, odd:], scale_factor=(2.0 if in_time else 1.0, 2.0, 2.0))]
        if odd:
            parts = [F.interpolate(x[:, :, :1], scale_factor=(1.0, 2.0, 2.0)), *parts]
        x = rearrange(joined_frames(*parts), "b c f h w -> (b f) c h w")
        return rearrange(self.conv(x), "(b f) c h w -> b c f h w", b=n)


class Stage(nn.Module):
    """Residual blocks, then a resampler where there is one."""

    def __init__(self, resnets: list[ResnetBlock], **resamplers: nn.Module):
        super().__init__()
        self.resnets = nn.ModuleList(resnets)
        self.resampler_name = next(iter(resamplers), None)
        for name, resampler in resamplers.items():
            setattr(self, name, nn.ModuleList([resampler]))

    def forward(self, x: Tensor, kept: Kept, latent: Tensor | None = None) -> Tensor:
        for resnet in self.resnets:
            x = resnet(x, kept, latent)
        return getattr(self, self.resampler_name)[0](x) if self.resampler_name else x


def _mid(dim: int, groups: int, latent_dim: int | None = None) -> Stage:
    return Stage([ResnetBlock(dim, dim, groups, latent_dim) for _ in range(2)])


class Encoder(nn.Module):
    def __init__(self, config: CogVideoXVAEConfig):
        super().__init__()
        channels, groups = config.block_out_channels, config.norm_num_groups
        self.conv_in = CausalConv3d(3, channels[0], 3)
        self.down_blocks = nn.ModuleList()
        for i, dim in enumerate(channels):
            dims = [channels[max(i - 1, 0)]] + [dim] * config.layers_per_block
            resnets = [ResnetBlock(a, b, groups) for a, b in pairwise(dims)]
            last = i == len(channels) - 1
            resampler = {} if last else {"downsamplers": Downsample(dim, compress_time=i < config.time_levels)}
            self.down_blocks.append(Stage(resnets, **resampler))
        self.mid_block = _mid(channels[-1], groups)
        self.norm_out = GroupNorm(groups, channels[-1], eps=1e-6)
        self.conv_out = CausalConv3d(channels[-1], 2 * config.latent_channels, 3)

    def forward(self, x: Tensor, kept: Kept) -> Tensor:
        x = self.conv_in(x, kept)
        for block in self.down_blocks:
            x = block(x, kept)
        x = self.mid_block(x, kept)
        return self.conv_out(F.silu(self.norm_out(x, kept)), kept)


class Decoder(nn.Module):
    def __init__(self, config: CogVideoXVAEConfig):
        super().__init__()
        channels, groups, latent_dim = config.block_out_channels[::-1], config.norm_num_groups, config.latent_channels
        self.conv_in = CausalConv3d(latent_dim, channels[0], 3)
        self.mid_block = _mid(channels[0], groups, latent_dim)
        self.up_blocks = nn.ModuleList()
        for i, dim in enumerate(channels):
            dims = [channels[max(i - 1, 0)]] + [dim] * (config.layers_per_block + 1)
            resnets = [ResnetBlock(a, b, groups, latent_dim) for a, b in pairwise(dims)]
            last = i == len(channels) - 1
            resampler = {} if last else {"upsamplers": Upsample(dim, compress_time=i < config.time_levels)}
            self.up_blocks.append(Stage(resnets, **resampler))
        self.norm_out = SpatialNorm(channels[-1], latent_dim, groups)
        self.conv_out = CausalConv3d(channels[-1], 3, 3)

    def forward(self, latent: Tensor, kept: Kept) -> Tensor:
        x = self.mid_block(self.conv_in(latent, kept), kept, latent)
        for block in self.up_blocks:
            x = block(x, kept, latent)
        return self.conv_out(F.silu(self.norm_out(x, kept, latent)), kept)


@dataclass(frozen=True)
class LatentDistribution:
    """A diagonal Gaussian over latents; the log variance is clipped to [-30, 20]."""

    mean: Float[Tensor, "B D *axes"]
    log_variance: Float[Tensor, "B D *axes"]

    def sample(self, noise: Float[Tensor, "B D *axes"]) -> Float[Tensor, "B D *axes"]:
        return self.mean + (0.5 * self.log_variance).exp() * noise

    def kl(self) -> Float[Tensor, ""]:
        """Divergence from the standard normal in nats, mean over latents."""
        return 0.5 * (self.mean**2 + self.log_variance.exp() - 1 - self.log_variance).mean()


def chunks(n_frames: int, size: int) -> list[slice]:
    """Chunks of `size` frames; what is left over joins the first."""
    if n_frames < size:
        return [slice(0, n_frames)]
    rest = n_frames % size
    return [slice(0 if i == 0 else rest + i * size, rest + (i + 1) * size) for i in range(n_frames // size)]


class CogVideoXVAE(nn.Module):
    """Frames in [-1, 1] to latents and back; times `scaling_factor`, latents are near unit deviation to diffuse."""

    def __init__(self, config: CogVideoXVAEConfig):
        super().__init__()
        self.config = config
        self.encoder = Encoder(config)
        self.decoder = Decoder(config)

    def encode(self, video: Float[Tensor, "B 3 F H W"]) -> LatentDistribution:
        """Latents of 4k + 1 frames (k + 1 of them), or of 4k (k); height and width in multiples of 8."""
        side = self.config.spatial_compression_ratio
        if video.shape[3] % side or video.shape[4] % side or not video.shape[2]:
            raise ValueError(f"frames must be at least one, of sides in multiples of {side}; got {list(video.shape)}")
        kept: Kept = {}
        parts = [
            self.encoder(video[:, :, chunk], kept) for chunk in chunks(video.shape[2], self.config.frames_per_chunk)
        ]
        mean, log_variance = torch.cat(parts, dim=2).chunk(2, dim=1)
        return LatentDistribution(mean, log_variance.clamp(-30, 20))

    def decode(self, latent: Float[Tensor, "B D F H W"]) -> Float[Tensor, "B 3 G Y X"]:
        """4k - 3 frames of an odd number k of latents, 4k of an even one: chunks are of two, or begin with three."""
        size = self.config.frames_per_chunk // self.config.temporal_compression_ratio
        kept: Kept = {}
        return torch.cat([self.decoder(latent[:, :, chunk], kept) for chunk in chunks(latent.shape[2], size)], dim=2)
