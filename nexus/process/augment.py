"""Differentiable augmentation (DiffAugment, arXiv:2006.10738): the critic sees real and fake pictures through the same
random changes, so that a small set of pictures is not learnt by heart and the generator need not make the changes.

Every picture of a batch is changed in its own way. Axes: B batch, C channels, H height, W width.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

Pictures = Float[Tensor, "B C H W"]
Augmentation = Callable[[Tensor, torch.Generator], Tensor]


def colour(x: Pictures, rng: torch.Generator) -> Pictures:
    """Brightness by up to 0.5 either way, then saturation times 0 to 2, then contrast times 0.5 to 1.5."""
    x = x + _each(x, rng) - 0.5
    grey = x.mean(1, keepdim=True)
    x = grey + (x - grey) * 2 * _each(x, rng)
    mean = x.mean((1, 2, 3), keepdim=True)
    return mean + (x - mean) * (_each(x, rng) + 0.5)


def translation(x: Pictures, rng: torch.Generator) -> Pictures:
    """Shifts by whole pixels, up to an eighth of the sides; zeros come in."""
    height, width = x.shape[2:]
    down, right = (_whole(x, -(side // 8), side // 8, rng) for side in (height, width))
    rows, columns = _places(height, x) - down, _places(width, x) - right  # [B, H] and [B, W], of where pixels come from
    inside = _within(rows, height)[:, None, :, None] & _within(columns, width)[:, None, None, :]
    batch = torch.arange(len(x), device=x.device)[:, None, None]
    moved = x[batch, :, rows.clamp(0, height - 1)[:, :, None], columns.clamp(0, width - 1)[:, None, :]]  # [B, H, W, C]
    return moved.permute(0, 3, 1, 2) * inside


def cutout(x: Pictures, rng: torch.Generator) -> Pictures:
    """Sets a rectangle of half the sides to zero; its middle is anywhere, so it may hang over the edge."""
    cut = []
    for side in x.shape[2:]:
        size = side // 2
        start = _whole(x, 0, side - size % 2, rng) - size // 2
        places = _places(side, x)
        cut.append((places >= start) & (places < start + size))
    return x * ~(cut[0][:, None, :, None] & cut[1][:, None, None, :])


AUGMENTATIONS: dict[str, Augmentation] = {"colour": colour, "translation": translation, "cutout": cutout}


def augmented(x: Pictures, names: tuple[str, ...], rng: torch.Generator) -> Pictures:
    """One augmentation after another.

    Raises:
        ValueError: a name that is none of `AUGMENTATIONS`.
    """
    for name in names:
        if name not in AUGMENTATIONS:
            raise ValueError(f"augmentations are {', '.join(AUGMENTATIONS)}, got {name!r}")
        x = AUGMENTATIONS[name](x, rng)
    return x


def _each(x: Tensor, rng: torch.Generator) -> Float[Tensor, "B 1 1 1"]:
    return torch.rand(len(x), 1, 1, 1, generator=rng).to(x)


def _whole(x: Tensor, low: int, high: int, rng: torch.Generator) -> Tensor:
    """[B, 1] whole numbers from low to high, both included."""
    return torch.randint(low, high + 1, (len(x), 1), generator=rng).to(x.device)


def _places(side: int, x: Tensor) -> Tensor:
    return torch.arange(side, device=x.device)[None]


def _within(places: Tensor, side: int) -> Tensor:
    return (places >= 0) & (places < side)
