"""Contact sheets: places, scale, white for what is missing."""

import numpy as np
import pytest

from nexus.media.image import Image
from nexus.media.sheet import contact_sheet


def test_places_and_scale():
    images = [Image(np.full((2, 3, 3), value, np.uint8)) for value in (10, 20, 30)]
    sheet = contact_sheet(images, 2, scale=2, gap=3).pixels
    assert sheet.shape == (2 * 4 + 3, 2 * 6 + 3, 3)
    assert (sheet[:4, :6] == 10).all() and (sheet[:4, 9:] == 20).all() and (sheet[7:, :6] == 30).all()
    assert (sheet[7:, 9:] == 255).all() and (sheet[4:7] == 255).all() and (sheet[:, 6:9] == 255).all()


def test_what_cannot_be():
    one = Image(np.zeros((2, 3, 3), np.uint8))
    with pytest.raises(ValueError, match="must have one size"):
        contact_sheet([one, one.resize(4, 4)], 2)
    with pytest.raises(ValueError, match="needs pictures"):
        contact_sheet([], 2)
