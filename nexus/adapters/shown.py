"""A picture that is shown to a ControlNet: how much it counts, and in which part of the steps.

Axes: N pictures, H height, W width.
"""

import math
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from nexus.media.image import Image
from nexus.process.levels import Path


@dataclass(frozen=True, eq=False)
class Shown:
    """What controls of every model have in common.

    Args:
        picture: what the ControlNet was trained to see (depth, a pose, edges), of the size that is painted; one for all
            pictures of a batch, or one for each.
        start, end: the part of the steps in which it is heard.
    """

    network: Any  # the ControlNet
    picture: Image | list[Image]
    weight: float | int = 1.0
    start: float | int = 0.0
    end: float | int = 1.0

    def __post_init__(self):
        if not math.isfinite(self.weight):
            raise ValueError(f"a control's weight must be a finite number, such as 0.8, got {self.weight}")
        if not 0 <= self.start < self.end <= 1:
            raise ValueError(f"a control goes from start to end within 0 to 1, got {self.start:g} to {self.end:g}")

    def pixels(self, n: int, size: tuple[int, int]) -> Float[Tensor, "N 3 H W"]:
        """In [0, 1], one or n.

        Raises:
            ValueError: pictures of another size than the one that is painted, or too few or too many of them.
        """
        pictures = self.picture if isinstance(self.picture, list) else [self.picture]
        if len(pictures) not in (1, n):
            raise ValueError(f"a control needs one picture, or {n} of them, one a prompt, got {len(pictures)}")
        other = next((p for p in pictures if (p.height, p.width) != size), None)
        if other is not None:
            raise ValueError(
                f"a control picture must be of the size that is painted, {size[1]}x{size[0]}, "
                f"got {other.width}x{other.height}; ask for that size, or resize the picture"
            )
        return torch.stack([picture.over_white().tensor() for picture in pictures]) / 2 + 0.5

    def speaks(self, time: float, path: Path) -> bool:
        """Whether the whole step at this time is within the part asked for."""
        n = len(path) - 1
        i = min(range(n), key=lambda i: abs(path[i].time - time))
        return self.start <= i / n and (i + 1) / n <= self.end
