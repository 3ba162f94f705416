"""Multi-scale structural similarity: identity, a case worked by hand, and what it refuses."""

import pytest
import torch

from nexus.metrics.ms_ssim import WINDOW, ms_ssim


def test_a_picture_is_like_itself_alone():
    picture = torch.rand(3, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1
    torch.testing.assert_close(ms_ssim(picture, picture), torch.ones(3, dtype=torch.float64))
    others = ms_ssim(picture, picture.roll(1, 0))
    assert (others < 0.3).all() and (others >= 0).all()


def test_flat_pictures_differ_by_luminance_at_the_coarsest_scale_alone():
    """At two scales the weight of the coarser is 0.2856 / 0.3304; contrast and structure of flat pictures are 1."""
    value = ms_ssim(torch.full((1, 16, 16), 0.2), torch.full((1, 16, 16), 0.6))
    light = (2 * 0.12 + 0.0004) / (0.04 + 0.36 + 0.0004)
    assert value.item() == pytest.approx(light ** (0.2856 / 0.3304), abs=1e-6)


def test_one_scale_is_plain_ssim():
    """By the formula over the single place where the window fits."""
    x, y = torch.rand(2, WINDOW, WINDOW, generator=torch.Generator().manual_seed(1)).double()
    bell = torch.exp(-((torch.arange(7.0) - 3) ** 2) / 4.5).double()
    weight = torch.outer(bell, bell) / bell.sum() ** 2
    mx, my = (weight * x).sum(), (weight * y).sum()
    vx, vy, cov = ((weight * x * x).sum() - mx**2, (weight * y * y).sum() - my**2, (weight * x * y).sum() - mx * my)
    wanted = (2 * mx * my + 0.0004) * (2 * cov + 0.0036) / ((mx**2 + my**2 + 0.0004) * (vx + vy + 0.0036))
    torch.testing.assert_close(ms_ssim(x[None].float(), y[None].float())[0], wanted.clamp(min=0), atol=1e-6, rtol=0)


def test_small_pictures_are_refused():
    with pytest.raises(ValueError, match="at least 7 pixels a side, got 6"):
        ms_ssim(torch.zeros(1, 6, 9), torch.zeros(1, 6, 9))
