"""Outpainting: a picture on a larger canvas, and the mask of what is new, for a model that inpaints.

image, mask = extended(picture, left=128, right=128)
wider = model.generate("a harbour", image=image, mask=mask)
"""

import numpy as np

from nexus.media.image import Image


def extended(
    image: Image, *, left: int = 0, right: int = 0, top: int = 0, bottom: int = 0, overlap: int = 8, multiple: int = 8
) -> tuple[Image, Image]:
    """The picture with so many more pixels on each side, and a mask that is white there.

    New pixels mirror the picture's, so that colours go on; all of them are painted anew.

    Args:
        overlap: pixels inside each old edge that are painted anew too, which hides the edge.
        multiple: the new sides must be multiples of it, as the model's autoencoder asks.

    Raises:
        ValueError: nothing to add, sides that are no multiples (the nearest are named), too much overlap.
    """
    added = (top, bottom, left, right)
    if min(added) < 0 or not any(added):
        raise ValueError(f"say how many pixels to add left, right, top or bottom, got {left}, {right}, {top}, {bottom}")
    height, width = image.height + top + bottom, image.width + left + right
    if height % multiple or width % multiple:
        nearest = [round(side / multiple) * multiple for side in (width, height)]
        raise ValueError(
            f"the canvas must be in multiples of {multiple}, got {width}x{height}; nearest is {nearest[0]}x{nearest[1]}"
        )
    if not 0 <= 2 * overlap < min(image.height, image.width):
        raise ValueError(f"overlap must leave some of {image.width}x{image.height} pixels, got {overlap} of each edge")
    pixels = image.over_white().pixels
    canvas = np.pad(pixels, ((top, bottom), (left, right), (0, 0)), mode="symmetric")
    mask = np.full((height, width), 255, np.uint8)
    inner = [edge + (overlap if edge else 0) for edge in added]
    mask[inner[0] : height - inner[1], inner[2] : width - inner[3]] = 0
    return Image(canvas), Image(mask)
