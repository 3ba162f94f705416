"""Three digits as the three colours of one picture: a thousand kinds that can be counted, as stacked MNIST has them
(Metz et al., arXiv:1611.02163, section 3.3; PacGAN, arXiv:1712.04086, section 4.2).

Axes: B batch, N pictures, H height, W width.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from nexus.data.digits import N_CLASSES, digits

PLANES = 3
N_KINDS = N_CLASSES**PLANES


@dataclass(frozen=True)
class StackedDigits:
    """Batch i: `image` [B, 3, H, W] in [-1, 1] and `label` [B], from 0 to 999; drawn evenly, by (seed, i)."""

    split: Literal["train", "valid"]
    batch_size: int
    seed: int
    size: int = 8  # pixels a side

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        data, rng = digits(self.split, self.size), np.random.default_rng((self.seed, index))
        chosen = torch.from_numpy(rng.integers(len(data.label), size=(self.batch_size, PLANES)))
        return {"image": data.image[chosen, 0], "label": kinds(data.label[chosen])}


def kinds(classes: Int[Tensor, "B 3"]) -> Int[Tensor, " B"]:
    """The number that the three digits of each picture spell."""
    return classes @ torch.tensor([100, 10, 1])


def planes(image: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "N 1 H W"]:
    """The digits one by one, those of a picture in turn."""
    return image.flatten(0, 1)[:, None]
