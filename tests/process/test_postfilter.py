"""Sharpening over frequency: what it leaves, and by how much it raises the rest."""

import torch

from nexus.process.postfilter import sharpen


def test_slopes_stay_and_contrast_grows():
    bins, frames = torch.arange(12.0), torch.randn(1, 1, 5)
    slope = (0.3 * bins - 4)[None, :, None] + frames
    assert torch.allclose(sharpen(slope, 0.8)[:, 1:-1], slope[:, 1:-1], atol=1e-5)
    assert torch.allclose(sharpen(torch.full((2, 6, 3), -7.0), 0.8), torch.full((2, 6, 3), -7.0))
    teeth = torch.where(bins % 2 == 0, 1.0, -1.0)[None, :, None].expand(2, -1, 3)
    assert torch.allclose(sharpen(teeth, 0.8)[:, 1:-1], 1.8 * teeth[:, 1:-1])
    waves = torch.cos(torch.pi / 2 * bins)[None, :, None]  # half way between: half as much
    assert torch.allclose(sharpen(waves, 0.8)[:, 1:-1], 1.4 * waves[:, 1:-1], atol=1e-6)
    assert torch.equal(sharpen(teeth, 0.0), teeth)
