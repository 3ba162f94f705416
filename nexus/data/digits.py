"""Handwritten digits: the 1,797 of 8 x 8 pixels that come with scikit-learn (UCI, Alpaydin and Kaynak, 1998).

Axes: B batch, N pictures, H height, W width.
"""

from functools import cache
from typing import Literal, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

N_CLASSES = 10
SIZE = 16  # pixels a side, twice the original's: strokes become smooth, and networks may halve it twice
_VALID = 360  # of 1,797, drawn once for all
_LEVELS = 16  # 0 is paper, 16 is ink


class Digits(NamedTuple):
    image: Float[Tensor, "N 1 H W"]  # in [-1, 1], ink bright
    label: Int[Tensor, " N"]


@cache
def digits(split: Literal["train", "valid"], size: int = SIZE) -> Digits:
    """All pictures of a split: 1,437 to train on, 360 that are held out; enlarged bicubically.

    Raises:
        ValueError: a size below the 8 pixels that there are.
        ModuleNotFoundError: scikit-learn, which brings the pictures, is not installed.
    """
    if size < 8:
        raise ValueError(f"size must be at least 8 pixels, got {size}; {SIZE} is usual")
    pictures, labels = _all()
    order = np.random.default_rng(0).permutation(len(labels))
    chosen = {"train": order[:-_VALID], "valid": order[-_VALID:]}[split]
    return Digits(enlarged(pictures[chosen][:, None] / (_LEVELS / 2) - 1, size), labels[chosen])


def enlarged(image: Float[Tensor, "N 1 h w"], size: int) -> Float[Tensor, "N 1 H W"]:
    """Bicubically, within [-1, 1]."""
    return F.interpolate(image, (size, size), mode="bicubic", align_corners=False).clamp(-1, 1)


def _all() -> tuple[Float[Tensor, "N 8 8"], Int[Tensor, " N"]]:
    try:
        from sklearn.datasets import load_digits
    except ModuleNotFoundError:
        raise ModuleNotFoundError("the digits come with scikit-learn: pip install 'nexus-media[train]'") from None
    pixels, labels = load_digits(return_X_y=True)
    return torch.tensor(pixels).float().reshape(-1, 8, 8), torch.tensor(labels).long()


class DigitBatches:
    """Batch i: `image` [B, 1, H, W] in [-1, 1] and `label` [B]; every picture comes once an epoch, shuffled by seed."""

    def __init__(self, split: Literal["train", "valid"], *, batch_size: int, seed: int, size: int = SIZE):
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {batch_size}")
        self.data, self.batch_size, self.seed = digits(split, size), batch_size, seed

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        n = len(self.data.label)
        places = np.arange(index * self.batch_size, (index + 1) * self.batch_size)
        orders = {e: np.random.default_rng((self.seed, e)).permutation(n) for e in np.unique(places // n).tolist()}
        chosen = torch.tensor([int(orders[place // n][place % n]) for place in places.tolist()])
        return {"image": self.data.image[chosen], "label": self.data.label[chosen]}
