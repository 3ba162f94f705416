"""The canvas and the mask of outpainting, by hand."""

import numpy as np
import pytest

from nexus.media.image import Image
from nexus.models.diffusion.outpainting import extended


def test_a_canvas_mirrors_the_picture_and_its_mask_is_white_where_it_is_new():
    pixels = np.random.default_rng(0).integers(0, 256, (16, 24, 3), dtype=np.uint8)
    canvas, mask = extended(Image(pixels), left=8, bottom=16, overlap=2)
    assert (canvas.width, canvas.height) == (mask.width, mask.height) == (32, 32)
    assert np.array_equal(canvas.pixels[:16, 8:], pixels)
    assert np.array_equal(canvas.pixels[0, :8], pixels[0, 7::-1])
    assert np.array_equal(canvas.pixels[16:, 8:], pixels[::-1])
    white = mask.pixels[..., 0] == 255
    assert not white[:14, 10:].any() and white[:, :10].all() and white[14:].all()  # edges that stay have no overlap


def test_what_cannot_be_is_refused():
    image = Image(np.zeros((16, 24, 3), np.uint8))
    with pytest.raises(ValueError, match="how many pixels to add"):
        extended(image)
    with pytest.raises(ValueError, match="how many pixels to add"):
        extended(image, left=-8, right=8)
    with pytest.raises(ValueError, match="multiples of 8, got 29x16; nearest is 32x16"):
        extended(image, left=5)
    with pytest.raises(ValueError, match="overlap must leave some of 24x16"):
        extended(image, left=8, overlap=8)
