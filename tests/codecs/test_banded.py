"""Large pictures in bands: what the whole gives, in memory that does not grow with them."""

import subprocess
import sys

import pytest
import torch

from nexus.codecs import banded
from nexus.codecs.banded import Features, decode_banded, encode_banded
from nexus.codecs.image_vae import ImageVAE, ImageVAEConfig


def tiny(**changes):
    torch.manual_seed(0)
    vae = ImageVAE(ImageVAEConfig(dims=(8, 16, 24), norm_groups=4, **changes)).eval().requires_grad_(False)
    for parameter in vae.parameters():
        parameter.add_(0.1 * torch.randn_like(parameter))
    return vae


@pytest.mark.parametrize("area", [1, 200, 2**16])  # bands of two rows, some rows, everything
@pytest.mark.parametrize("changes", [{}, {"quant_conv": False, "latent_channels": 16}], ids=["sd", "flux"])
def test_bands_give_what_the_whole_gives(area, changes, monkeypatch):
    monkeypatch.setattr(banded, "_AREA", area)
    vae = tiny(**changes)
    # One half is quiet and one loud, so that statistics of a part are not those of the whole.
    latent = torch.randn(2, vae.config.latent_channels, 7, 9) * torch.linspace(0.1, 2, 9)
    whole = vae.decode(latent)
    torch.testing.assert_close(decode_banded(vae, latent), whole, atol=1e-5, rtol=1e-4)
    apart = torch.cat([vae.decode(latent[..., :4]), vae.decode(latent[..., 4:])], dim=3)
    assert (apart - whole)[..., :8].std() > 0.05 * whole.std()  # away from the cut
    image = torch.rand(2, 3, 28, 36) * torch.linspace(0.1, 1, 36)
    coded, coded_whole = encode_banded(vae, image), vae.encode(image)
    torch.testing.assert_close(coded.mean, coded_whole.mean, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(coded.log_variance, coded_whole.log_variance, atol=1e-5, rtol=1e-4)


def test_half_precision_keeps_its_type(monkeypatch):
    monkeypatch.setattr(banded, "_AREA", 200)
    vae = tiny().to(torch.bfloat16)
    latent = torch.randn(1, 4, 7, 9, dtype=torch.bfloat16)
    ours, whole = decode_banded(vae, latent), vae.decode(latent)
    assert ours.dtype == torch.bfloat16
    assert (ours.float() - whole.float()).std() < 0.03 * whole.float().std()


def test_features_know_their_statistics_and_rows():
    x = torch.randn(1, 6, 10, 5) * 3 + 100  # far from zero, where sums of squares would lose digits
    norm = torch.nn.GroupNorm(3, 6, eps=1e-6)
    torch.nn.init.normal_(norm.weight)
    torch.nn.init.normal_(norm.bias)
    with Features(10, 3) as features:
        for top, bottom in ((0, 4), (4, 6), (6, 10)):
            features.append(x[:, :, top:bottom])
        assert torch.equal(features.read(-3, 4), x[:, :, :4]) and torch.equal(features.read(5, 12), x[:, :, 5:])
        expected = torch.nn.functional.silu(norm(x))
        torch.testing.assert_close(features.activated(norm, 3, 8), expected[:, :, 3:8], atol=1e-4, rtol=1e-4)
    with pytest.raises(ValueError, match="closed"):
        features.read(0, 1)


def test_sides_are_checked():
    with pytest.raises(ValueError, match="multiples of 4"):
        encode_banded(tiny(), torch.zeros(1, 3, 30, 36))


_MEASURE = """
import resource, sys, torch
from nexus.codecs.banded import decode_banded
from nexus.codecs.image_vae import ImageVAE, ImageVAEConfig
torch.set_num_threads(1)
vae = ImageVAE(ImageVAEConfig(dims=(16, 32, 64, 64), norm_groups=8)).eval().requires_grad_(False)
how = vae.decode if sys.argv[1] == "whole" else lambda latent: decode_banded(vae, latent)
how(torch.randn(1, 4, 16, 16))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
how(torch.randn(1, 4, int(sys.argv[2]), int(sys.argv[2])))
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


def peak(how, side):
    """MB beyond what the process had before."""
    run = subprocess.run([sys.executable, "-c", _MEASURE, how, str(side)], capture_output=True, text=True, check=True)
    return int(run.stdout)


@pytest.mark.slow
def test_memory_is_flat():
    """1024 and 1408 pixels a side; the pictures themselves take 12 and 23 MB."""
    small, large, whole = peak("banded", 128), peak("banded", 176), peak("whole", 128)
    assert large - small < 40 and whole > 2.5 * small, (small, large, whole)
