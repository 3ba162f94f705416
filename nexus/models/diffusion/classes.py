"""What models that are asked for classes share: the request, the class that is no class, the pictures.

Axes: B batch, C channels, H height, W width.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from nexus.media.image import Image

Class = int | str  # its number, perhaps as a text
Classes = Class | Sequence[Class]


def asked(classes: Classes, n_classes: int) -> list[int]:
    """One class for each picture.

    Raises:
        ValueError: none, or one that the model does not know.
    """
    wanted = [classes] if isinstance(classes, Class) else list(classes)
    known = {str(number): number for number in range(n_classes)}
    wrong = [repr(label) for label in wanted if str(label).strip() not in known] if wanted else ["none"]
    if wrong:
        raise ValueError(f"classes must be numbers from 0 to {n_classes - 1}, got {wrong[0]}")
    return [known[str(label).strip()] for label in wanted]


def dropped(label: Int[Tensor, " B"], null: int, share: float, rng: torch.Generator) -> Int[Tensor, " B"]:
    """Labels of which a share says nothing, so that one network learns both fields of guidance (arXiv:2207.12598)."""
    lost = torch.rand(len(label), generator=rng) < share
    return torch.where(lost.to(label.device), null, label)


def given(x: Float[Tensor, "B C H W"], classes: Classes | None) -> Image | list[Image]:
    """The pictures, or the only one where one class was asked for."""
    pictures = [Image.from_tensor(picture) for picture in x]
    return pictures[0] if isinstance(classes, Class) else pictures
