"""Large pictures through the image autoencoder in flat memory: band by band, and yet what the whole would give.

Tiles that go through a decoder each on their own differ from the whole by more than blending hides: group norms see
the mean and variance of a tile, not of the picture. Here every convolution goes over the whole picture in bands of rows
before the next begins; its features wait in a temporary file, and their statistics are summed on the way. So a band is
exact, there is nothing to blend, and memory holds one band. The middle, at the size of latents, is computed at once.

Axes: C channels, H height, W width, R rows; a picture at a time.
"""

import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from nexus.codecs.cogvideox_vae import LatentDistribution
from nexus.codecs.image_vae import ImageVAE, Stage
from nexus.codecs.stills import Stills
from nexus.nn.image_blocks import ResidualBlock, Upsample, double

Band = Float[Tensor, "1 C R W"]
_AREA = 2**16  # places of a band, at any size: of 256 channels in fp32 64 MB
_WHOLE = 2**14  # latents up to which pictures are coded at once


class Features:
    """Features [C, H, W] in a temporary file, written from top to bottom, with the statistics of their groups."""

    def __init__(self, height: int, groups: int):
        self.height, self.groups = height, groups
        self.file: Any = tempfile.TemporaryFile()  # noqa: SIM115 (closed on leaving)
        self.count = 0
        self.mean = self.squares = torch.zeros(groups, dtype=torch.float64)  # squares: of what the mean leaves

    def __enter__(self) -> "Features":
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()

    def append(self, band: Band) -> None:
        self.like, self.width = band[:, :, :0], band.shape[3]
        self.file.seek(0, 2)
        band[0].transpose(0, 1).contiguous().cpu().view(torch.uint8).numpy().tofile(self.file)
        variance, mean = torch.var_mean(band.float().reshape(self.groups, -1), dim=1, correction=0)
        self._merge(band.numel() // self.groups, mean.double().cpu(), variance.double().cpu())

    def _merge(self, n: int, mean: Tensor, variance: Tensor) -> None:
        """Statistics of two parts together (Chan et al. 1979)."""
        total, apart = self.count + n, mean - self.mean
        self.squares = self.squares + variance * n + apart**2 * (self.count * n / total)
        self.mean, self.count = self.mean + apart * (n / total), total

    def read(self, top: int, bottom: int) -> Band:
        """Rows top to bottom, as far as there are any."""
        top, bottom = max(top, 0), min(bottom, self.height)
        channels, width, bytes_each = self.like.shape[1], self.like.shape[3], self.like.element_size()
        row = channels * width * bytes_each
        self.file.seek(top * row)
        flat = torch.from_numpy(np.fromfile(self.file, dtype=np.uint8, count=(bottom - top) * row))
        rows = flat.view(self.like.dtype).reshape(bottom - top, channels, width)
        return rows.transpose(0, 1)[None].to(self.like.device)

    def activated(self, norm: nn.GroupNorm, top: int, bottom: int) -> Band:
        """Rows after that norm, by the statistics of all rows, and SiLU."""
        rows = self.read(top, bottom)
        each = rows.shape[1] // self.groups
        inverse = (self.squares / self.count + norm.eps).rsqrt()
        scale = inverse.to(rows).repeat_interleave(each) * norm.weight
        shift = norm.bias - self.mean.to(rows).repeat_interleave(each) * scale
        return F.silu(rows * scale[:, None, None] + shift[:, None, None])


def decode_large(vae: ImageVAE | Stills, latent: Float[Tensor, "B D H W"]) -> Float[Tensor, "B C Y X"]:
    """As `vae.decode`; in bands beyond 1024 x 1024 pixels (of 8 x 8 a latent)."""
    if isinstance(vae, Stills) or latent[0, 0].numel() <= _WHOLE:
        return vae.decode(latent)
    return decode_banded(vae, latent)


def encode_large(vae: ImageVAE | Stills, image: Float[Tensor, "B C Y X"]) -> LatentDistribution:
    """As `vae.encode`; in bands beyond 1024 x 1024 pixels (of 8 x 8 a latent)."""
    if isinstance(vae, Stills) or image[0, 0].numel() <= _WHOLE * vae.config.spatial_compression_ratio**2:
        return vae.encode(image)
    return encode_banded(vae, image)


def decode_banded(vae: ImageVAE, latent: Float[Tensor, "B D H W"]) -> Float[Tensor, "B C Y X"]:
    """As `vae.decode`, each picture alone and in flat memory; temporary files take up to 2 kB a pixel in fp32."""
    return torch.cat([_decode(vae, item[None]) for item in latent])


def encode_banded(vae: ImageVAE, image: Float[Tensor, "B C Y X"]) -> LatentDistribution:
    """As `vae.encode`, each picture alone and in flat memory."""
    vae.check(image)
    return vae.posterior(torch.cat([_encode(vae, item[None]) for item in image]))


def _decode(vae: ImageVAE, latent: Float[Tensor, "1 D H W"]) -> Float[Tensor, "1 C Y X"]:
    decoder = vae.decoder
    x = Features(latent.shape[2], vae.config.norm_groups)
    x.append(decoder.middle(decoder.conv_in(vae.post_quant_conv(latent))))
    for stage in decoder.up:
        x = _stage(stage, x)
    with x:
        last = partial(_convolved, decoder.conv_out, partial(x.activated, decoder.norm_out), x.height)
        return torch.cat([last(top, bottom) for top, bottom in _bands(x.height, x.width)], dim=2)


def _encode(vae: ImageVAE, image: Float[Tensor, "1 C Y X"]) -> Float[Tensor, "1 E H W"]:
    encoder, (height, width) = vae.encoder, image.shape[2:]
    first = partial(_convolved, encoder.conv_in, lambda top, bottom: image[:, :, max(top, 0) : bottom], height)
    x = _made(height, width, vae.config.norm_groups, first)
    for stage in encoder.down:
        x = _stage(stage, x)
    with x:
        hidden = encoder.middle(x.read(0, x.height))
    return encoder.conv_out(F.silu(encoder.norm_out(hidden)))


def _stage(stage: nn.Module, x: Features) -> Features:
    assert isinstance(stage, Stage)
    for block in stage.blocks:
        assert isinstance(block, ResidualBlock)
        x = _residual(block, x)
    if isinstance(stage.resample, Upsample):
        return _doubled(stage.resample.conv, x)
    return x if stage.resample is None else _halved(stage.resample.conv, x)  # type: ignore[arg-type]


def _residual(block: ResidualBlock, x: Features) -> Features:
    first = partial(_convolved, block.conv1, partial(x.activated, block.norm1), x.height)
    with x, _made(x.height, x.width, x.groups, first) as hidden:
        second = partial(_convolved, block.conv2, partial(hidden.activated, block.norm2), x.height)
        return _made(
            x.height, x.width, x.groups, lambda top, bottom: block.shortcut(x.read(top, bottom)) + second(top, bottom)
        )


def _doubled(conv: nn.Conv2d, x: Features) -> Features:
    def rows(top: int, bottom: int) -> Band:
        """Of the enlarged features, which `top` - 1 and `bottom` + 1 cut through the middle of a pair of."""
        pairs = double(x.read(top // 2, bottom // 2 + 1))
        above = top % 2 if top >= 0 else 0
        return pairs[:, :, above : above + min(bottom, 2 * x.height) - max(top, 0)]

    with x:
        band = partial(_convolved, conv, rows, 2 * x.height)
        return _made(2 * x.height, 2 * x.width, x.groups, band)


def _halved(conv: nn.Conv2d, x: Features) -> Features:
    def band(top: int, bottom: int) -> Band:
        rows = x.read(2 * top, 2 * bottom + 1)
        return conv(F.pad(rows, (0, 1, 0, int(2 * bottom == x.height))))

    with x:
        return _made(x.height // 2, x.width // 2, x.groups, band)


def _made(height: int, width: int, groups: int, band: Callable[[int, int], Tensor]) -> Features:
    """Features of that size, of bands from one row to another."""
    made = Features(height, groups)
    for top, bottom in _bands(height, width):
        made.append(band(top, bottom))
    return made


def _bands(height: int, width: int) -> Iterator[tuple[int, int]]:
    rows = max(_AREA // width // 2 * 2, 2)
    return ((top, min(top + rows, height)) for top in range(0, height, rows))


def _convolved(
    conv: nn.Conv2d, rows: Callable[[int, int], Tensor], height: int, top: int, bottom: int
) -> Float[Tensor, "1 D R W"]:
    """Rows top to bottom of a convolution of size 3 over features of that height, with zeros around them all."""
    padded = F.pad(rows(top - 1, bottom + 1), (1, 1, int(top == 0), int(bottom == height)))
    return F.conv2d(padded, conv.weight, conv.bias)
