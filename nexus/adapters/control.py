"""A ControlNet with its picture, as an adapter of `StableDiffusion.generate`: weight, part of the steps, guess mode."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from nexus.adapters.controlnet import ControlNet, weighted
from nexus.media.image import Image
from nexus.models.diffusion.conditional_unet import Residuals
from nexus.models.diffusion.spatial_transformer import CrossAttention
from nexus.models.diffusion.stable_diffusion import Said
from nexus.process.levels import Path


@dataclass(frozen=True, eq=False)
class Control:
    """Several are given to `generate` side by side, and what they add is added up.

    Args:
        picture: what the ControlNet was trained to see (depth, a pose, edges), of the size that is painted; one for all
            pictures of a batch, or one for each.
        start, end: the part of the steps in which it is heard.
        guess: what it finds is added to the prompted half of guidance alone, less at large sizes, as if unprompted.
    """

    network: ControlNet
    picture: Image | list[Image]
    weight: float | int = 1.0
    start: float | int = 0.0
    end: float | int = 1.0
    guess: bool = False

    def __post_init__(self):
        if not math.isfinite(self.weight):
            raise ValueError(f"a control's weight must be a finite number, such as 0.8, got {self.weight}")
        if not 0 <= self.start < self.end <= 1:
            raise ValueError(f"a control goes from start to end within 0 to 1, got {self.start:g} to {self.end:g}")

    def __call__(self, said: Said) -> Said:
        """What is said, with what the ControlNet adds to it.

        Raises:
            ValueError: a ControlNet for another base, pictures of another size or too few of them.
        """
        check_base(self.network, said)
        return replace(said, residuals=(*said.residuals, self._residuals(said)))

    def _residuals(self, said: Said) -> Callable[[Tensor, Tensor], Residuals]:
        # Guess mode, and what is a mean over all places, are for the wanted half alone.
        n = said.n if self.guess or self.network.control.pools else len(said.text)
        seen = self._seen(said)
        seen = seen.repeat(n // len(seen), 1, 1, 1)
        told = self.network.hear(said.text[:n])
        pooled, sizes = (None if given is None else given[:n] for given in (said.pooled, said.sizes))

        def residuals(x_t: Tensor, step: Tensor) -> Residuals:
            if not self._speaks(float(step[0]), said.path):
                nothing = x_t.new_zeros(1, 1, 1, 1)
                return Residuals([nothing] * len(self.network.skips), nothing)
            found = self.network(x_t[:n], step[:n], told, seen, pooled=pooled, sizes=sizes)
            found = weighted(found, self.weight, guess=self.guess and not self.network.control.pools)
            return found if n == len(x_t) else beside_nothing(found, len(x_t) - n)

        return residuals

    def _seen(self, said: Said) -> Tensor:
        pictures = self.picture if isinstance(self.picture, list) else [self.picture]
        if len(pictures) not in (1, said.n):
            raise ValueError(f"a control needs one picture, or {said.n} of them, one a prompt, got {len(pictures)}")
        other = next((p for p in pictures if (p.height, p.width) != said.size), None)
        if other is not None:
            raise ValueError(
                f"a control picture must be of the size that is painted, {said.size[1]}x{said.size[0]}, "
                f"got {other.width}x{other.height}; ask for that size, or resize the picture"
            )
        pixels = torch.stack([picture.over_white().tensor() for picture in pictures]) / 2 + 0.5
        return self.network.see(pixels.to(self.network.conv_in.weight))

    def _speaks(self, time: float, path: Path) -> bool:
        """Whether the whole step at this time is within the part asked for."""
        n = len(path) - 1
        i = min(range(n), key=lambda i: abs(path[i].time - time))
        return self.start <= i / n and (i + 1) / n <= self.end


def check_base(network: ControlNet, said: Said) -> None:
    """Raises ValueError for a ControlNet of other widths than the network that is told."""
    base = [list(attention.kv.weight.shape) for attention in said.told if isinstance(attention, CrossAttention)]
    for i, attention in enumerate(network.cross_attentions()):
        shape, theirs = list(attention.kv.weight.shape), base[i] if i < len(base) else None
        if shape != theirs:
            raise ValueError(
                f"the ControlNet is for another base: its cross-attention {i} has keys and values of {shape}, "
                f"the base has {theirs or 'no such layer'}"
            )
    if (network.config.added_dim is None) != (said.pooled is None):
        raise ValueError(
            "the ControlNet is for another base: one of them knows pooled text and sizes (XL), one does not"
        )


def beside_nothing(found: Residuals, n: int) -> Residuals:
    """For a batch of n more, to which nothing is added."""

    def padded(x: Tensor) -> Tensor:
        return torch.cat([x, x.new_zeros(n, *x.shape[1:])])

    return Residuals([padded(skip) for skip in found.skips], padded(found.middle))
