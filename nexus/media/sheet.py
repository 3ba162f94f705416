"""Pictures side by side in one picture."""

import math
from collections.abc import Sequence

import numpy as np

from nexus.media.image import Image


def contact_sheet(images: Sequence[Image], columns: int, *, scale: int = 1) -> Image:
    """Rows of `columns` pictures of one size, every pixel `scale` wide and high; places left over are white.

    Raises:
        ValueError: no pictures, pictures of several sizes, or columns or scale below 1.
    """
    if not images or columns < 1 or scale < 1:
        raise ValueError(f"a sheet needs pictures, columns and a scale, got {len(images)}, {columns} and {scale}")
    sizes = {(image.height, image.width) for image in images}
    if len(sizes) > 1:
        raise ValueError(f"the pictures of a sheet must have one size, got {', '.join(f'{w}x{h}' for h, w in sizes)}")
    (height, width), rows = sizes.pop(), math.ceil(len(images) / columns)
    sheet = np.full((rows * height, columns * width, 3), 255, np.uint8)
    for i, image in enumerate(images):
        top, left = i // columns * height, i % columns * width
        sheet[top : top + height, left : left + width] = image.over_white().pixels
    return Image(sheet.repeat(scale, 0).repeat(scale, 1))
