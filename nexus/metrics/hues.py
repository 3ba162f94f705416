"""How much of a picture has which colour: histograms of hue, at two lightnesses and three saturations."""

import numpy as np
from jaxtyping import Float32
from numpy import ndarray

from nexus.media.image import Image

HUES, SATURATIONS, LIGHTNESSES = 16, 3, 2
MIDDLE = 0.15  # share of the sides: the spread of the bell that weighs the middle


def hues(image: Image) -> Float32[ndarray, " D"]:
    """Roots of shares of the picture, of its middle first, then of all of it; D = 192."""
    from PIL import Image as Pillow

    hue, saturation, value = np.asarray(Pillow.fromarray(image.over_white().pixels).convert("HSV")).T.astype(np.int64)
    width, height = hue.shape  # transposed
    x, y = np.mgrid[0:width, 0:height] / np.array([width, height]).reshape(2, 1, 1) - 0.5
    kind = ((value > 127) * SATURATIONS + saturation * SATURATIONS // 256) * HUES + hue * HUES // 256
    shares = []
    for weight in (np.exp(-(x**2 + y**2) / (2 * MIDDLE**2)), np.ones_like(x)):
        counted = np.bincount(kind.ravel(), weight.ravel(), minlength=HUES * SATURATIONS * LIGHTNESSES)
        shares.append(np.sqrt(counted / weight.sum()))
    return np.concatenate(shares).astype(np.float32)
