"""Pictures side by side in one picture."""

import math
from collections.abc import Sequence

import numpy as np

from nexus.media.image import Image


def contact_sheet(images: Sequence[Image], columns: int, *, scale: int = 1, gap: int = 1) -> Image:
    """Rows of `columns` pictures of one size, every pixel `scale` wide and high, with `gap` white pixels between.

    Raises:
        ValueError: no pictures, pictures of several sizes, columns or scale below 1, or a negative gap.
    """
    if not images or columns < 1 or scale < 1 or gap < 0:
        raise ValueError(
            f"a sheet needs pictures, columns, scale and gap, got {len(images)}, {columns}, {scale}, {gap}"
        )
    sizes = {(image.height, image.width) for image in images}
    if len(sizes) > 1:
        raise ValueError(f"the pictures of a sheet must have one size, got {', '.join(f'{w}x{h}' for h, w in sizes)}")
    height, width = (scale * side for side in sizes.pop())
    rows = math.ceil(len(images) / columns)
    sheet = np.full((rows * (height + gap) - gap, columns * (width + gap) - gap, 3), 255, np.uint8)
    for i, image in enumerate(images):
        top, left = i // columns * (height + gap), i % columns * (width + gap)
        sheet[top : top + height, left : left + width] = image.over_white().pixels.repeat(scale, 0).repeat(scale, 1)
    return Image(sheet)
