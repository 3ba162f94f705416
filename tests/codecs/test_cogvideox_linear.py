"""The computed encoder: affine, ordered by variance, and worth decoding."""

import pytest
import torch
import torch.nn.functional as F
from einops import rearrange

from nexus.codecs.cogvideox_linear import set_linear_encoder
from nexus.codecs.cogvideox_vae import CogVideoXVAE, CogVideoXVAEConfig

CONFIG = CogVideoXVAEConfig(
    block_out_channels=(8, 16, 24, 32), layers_per_block=1, latent_channels=8, norm_num_groups=2, scaling_factor=1.0
)


@pytest.fixture
def video():
    """Smooth moving colours [6, 3, 9, 32, 32] in [-1, 1]."""
    seeds = torch.randn(6, 3, 4, 4, 4, generator=torch.Generator().manual_seed(0))
    return F.interpolate(seeds, size=(9, 32, 32), mode="trilinear").tanh()


@pytest.fixture
def vae(video):
    torch.manual_seed(0)
    vae = CogVideoXVAE(CONFIG).eval()
    set_linear_encoder(vae, video)
    return vae


def test_latents_are_an_affine_function_of_the_pixels(vae, video):
    with torch.no_grad():
        a, b = vae.encode(video[:3]).mean, vae.encode(video[3:]).mean
        between = vae.encode((video[:3] + video[3:]) / 2).mean
    assert a.std() > 0.3
    assert (between - (a + b) / 2).abs().max() < 0.05 * a.std()


def test_latents_are_centred_and_ordered_by_variance(vae, video):
    with torch.no_grad():
        latents = vae.encode(video)
    deviation = latents.mean.std(dim=(0, 2, 3, 4))
    assert latents.mean.mean(dim=(0, 2, 3, 4)).abs().max() < 0.1
    assert bool((deviation.diff() < 0.05).all()) and deviation[0] > 1.5 * deviation[-1]
    assert latents.log_variance.max() < -7


def test_a_linear_decoder_gets_most_of_the_picture_back(vae, video):
    with torch.no_grad():
        latents = vae.encode(video).mean[:, :, 1:]
    blocks = rearrange(video[:, :, 1:], "b c (k f) (h p) (w q) -> (b k h w) (c f p q)", f=4, p=8, q=8)
    rows = rearrange(latents, "b d k h w -> (b k h w) d")
    rows = torch.cat([rows, torch.ones(len(rows), 1)], dim=1)
    left = blocks - rows @ torch.linalg.lstsq(rows, blocks).solution
    assert left.square().mean() < 0.25 * (blocks - blocks.mean(0)).square().mean()


def test_motion_reaches_the_latents(vae, video):
    with torch.no_grad():
        moving, reversed_ = vae.encode(video).mean, vae.encode(video.flip(2)).mean.flip(2)
    assert (moving - reversed_)[:, :, 1:].abs().mean() > 0.02


def test_sizes_without_room_are_refused(video):
    narrow = CogVideoXVAE(CogVideoXVAEConfig(block_out_channels=(8, 8, 8, 8), layers_per_block=1, norm_num_groups=2))
    with pytest.raises(ValueError, match="4 channels a latent channel"):
        set_linear_encoder(narrow, video)
