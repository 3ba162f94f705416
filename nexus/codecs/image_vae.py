"""The image autoencoder of latent diffusion (arXiv:2112.10752): pictures to latents 8 x 8 smaller, and back.

Stable Diffusion's has 4 latent channels and convolutions of size 1 between coder and latents; SD3's and FLUX' have 16
channels, no such convolutions, and a shift beside the scale. `nexus.codecs.banded` codes large pictures in flat memory.

Official weights: stabilityai/sd-vae-ft-mse (MIT), `vae/` of Stable Diffusion 1.5, 2.1 (OpenRAIL) and XL (OpenRAIL++).
Axes: B batch, C channels, H height, W width (of pixels: Y, X), D latent channels.
"""

from dataclasses import dataclass

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from nexus.codecs.cogvideox_vae import LatentDistribution
from nexus.nn.image_blocks import Downsample, ResidualBlock, SpatialAttention, Upsample

Map = Float[Tensor, "B C H W"]
_EPS = 1e-6


@dataclass(frozen=True, kw_only=True)
class ImageVAEConfig:
    """The defaults are Stable Diffusion's."""

    in_channels: int = 3
    dims: tuple[int, ...] = (128, 256, 512, 512)  # channels at each size, each half of the one before
    n_blocks: int = 2  # at each size of the encoder; one more in the decoder
    latent_channels: int = 4
    norm_groups: int = 32
    quant_conv: bool = True  # a convolution of size 1 after the encoder, and one before the decoder
    scaling_factor: float = 0.18215  # (latents - shift) times this are near unit deviation, to diffuse
    shift_factor: float = 0.0

    def __post_init__(self):
        wrong = next((dim for dim in self.dims if dim % self.norm_groups), None)
        if wrong is not None:
            raise ValueError(f"dims must be multiples of norm_groups {self.norm_groups}, got {wrong}")

    @property
    def spatial_compression_ratio(self) -> int:
        return 2 ** (len(self.dims) - 1)

    @classmethod
    def sdxl(cls) -> "ImageVAEConfig":
        return cls(scaling_factor=0.13025)

    @classmethod
    def sd3(cls) -> "ImageVAEConfig":
        return cls(latent_channels=16, quant_conv=False, scaling_factor=1.5305, shift_factor=0.0609)

    @classmethod
    def flux(cls) -> "ImageVAEConfig":
        return cls(latent_channels=16, quant_conv=False, scaling_factor=0.3611, shift_factor=0.1159)


class Stage(nn.Module):
    """Residual blocks at one size, and the way to the next."""

    def __init__(self, config: ImageVAEConfig, n_in: int, n_out: int, n_blocks: int, resample: nn.Module | None):
        super().__init__()
        self.blocks = nn.ModuleList(_block(config, n_out if i else n_in, n_out) for i in range(n_blocks))
        self.resample = resample

    def forward(self, x: Map) -> Float[Tensor, "B O I J"]:
        for block in self.blocks:
            x = block(x)
        return x if self.resample is None else self.resample(x)


class Middle(nn.Sequential):
    """Two residual blocks around attention over all places."""

    def __init__(self, config: ImageVAEConfig):
        dim = config.dims[-1]
        attention = SpatialAttention(dim, groups=config.norm_groups, eps=_EPS)
        super().__init__(_block(config, dim, dim), attention, _block(config, dim, dim))


class Encoder(nn.Module):
    """To means and log variances."""

    def __init__(self, config: ImageVAEConfig):
        super().__init__()
        dims, last = config.dims, len(config.dims) - 1
        self.conv_in = nn.Conv2d(config.in_channels, dims[0], 3, padding=1)
        self.down = nn.ModuleList(
            Stage(
                config,
                dims[max(i - 1, 0)],
                dim,
                config.n_blocks,
                Downsample(dim, pad_end=True) if i < last else None,
            )
            for i, dim in enumerate(dims)
        )
        self.middle = Middle(config)
        self.norm_out = nn.GroupNorm(config.norm_groups, dims[-1], _EPS)
        self.conv_out = nn.Conv2d(dims[-1], 2 * config.latent_channels, 3, padding=1)

    def forward(self, x: Map) -> Float[Tensor, "B E I J"]:
        x = self.conv_in(x)
        for stage in self.down:
            x = stage(x)
        return self.conv_out(F.silu(self.norm_out(self.middle(x))))


class Decoder(nn.Module):
    """To pixels."""

    def __init__(self, config: ImageVAEConfig):
        super().__init__()
        dims, last = config.dims[::-1], len(config.dims) - 1
        self.conv_in = nn.Conv2d(config.latent_channels, dims[0], 3, padding=1)
        self.middle = Middle(config)
        self.up = nn.ModuleList(
            Stage(config, dims[max(i - 1, 0)], dim, config.n_blocks + 1, Upsample(dim) if i < last else None)
            for i, dim in enumerate(dims)
        )
        self.norm_out = nn.GroupNorm(config.norm_groups, dims[-1], _EPS)
        self.conv_out = nn.Conv2d(dims[-1], config.in_channels, 3, padding=1)

    def forward(self, latent: Map) -> Float[Tensor, "B O I J"]:
        x = self.middle(self.conv_in(latent))
        for stage in self.up:
            x = stage(x)
        return self.conv_out(F.silu(self.norm_out(x)))


class ImageVAE(nn.Module):
    """Pictures in [-1, 1] to latents and back; `scaled` makes latents fit to diffuse."""

    def __init__(self, config: ImageVAEConfig):
        super().__init__()
        self.config, dim = config, config.latent_channels
        self.encoder, self.decoder = Encoder(config), Decoder(config)
        self.quant_conv = nn.Conv2d(2 * dim, 2 * dim, 1) if config.quant_conv else nn.Identity()
        self.post_quant_conv = nn.Conv2d(dim, dim, 1) if config.quant_conv else nn.Identity()

    def encode(self, image: Float[Tensor, "B C Y X"]) -> LatentDistribution:
        """A Gaussian of each latent.

        Raises:
            ValueError: sides that are no multiples of `config.spatial_compression_ratio`.
        """
        self.check(image)
        return self.posterior(self.encoder(image))

    def check(self, image: Float[Tensor, "B C Y X"]) -> None:
        ratio = self.config.spatial_compression_ratio
        if any(side % ratio or not side for side in image.shape[2:]):
            nearest = [max(round(side / ratio), 1) * ratio for side in image.shape[2:]]
            raise ValueError(
                f"height and width must be multiples of {ratio}, got {list(image.shape[2:])}; nearest is {nearest}"
            )

    def posterior(self, coded: Float[Tensor, "B E H W"]) -> LatentDistribution:
        mean, log_variance = self.quant_conv(coded).chunk(2, dim=1)
        return LatentDistribution(mean, log_variance.clamp(-30, 20))

    def decode(self, latent: Float[Tensor, "B D H W"]) -> Float[Tensor, "B C Y X"]:
        """The whole batch at once; of latents as `encode` gives them, not scaled."""
        return self.decoder(self.post_quant_conv(latent))

    def scaled(self, latent: Float[Tensor, "B D H W"]) -> Float[Tensor, "B D H W"]:
        """Near zero mean and unit deviation, as diffusion models are given them."""
        return (latent - self.config.shift_factor) * self.config.scaling_factor

    def unscaled(self, latent: Float[Tensor, "B D H W"]) -> Float[Tensor, "B D H W"]:
        """Latents to decode, of those that diffusion made."""
        return latent / self.config.scaling_factor + self.config.shift_factor


def _block(config: ImageVAEConfig, n_in: int, n_out: int) -> ResidualBlock:
    return ResidualBlock(n_in, n_out, groups=config.norm_groups, eps=_EPS)
