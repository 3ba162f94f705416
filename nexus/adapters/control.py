"""A ControlNet with its picture, as an adapter of `StableDiffusion.generate`: weight, part of the steps, guess mode."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from nexus.adapters.controlnet import ControlNet, weighted
from nexus.adapters.shown import Shown
from nexus.models.diffusion.conditional_unet import Residuals
from nexus.models.diffusion.spatial_transformer import CrossAttention
from nexus.models.diffusion.stable_diffusion import Said


@dataclass(frozen=True, eq=False)
class Control(Shown):
    """Several are given to `generate` side by side, and what they add is added up.

    Args:
        guess: what it finds is added to the prompted half of guidance alone, less at large sizes, as if unprompted.
    """

    network: ControlNet
    guess: bool = False

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
        seen = self.network.see(self.pixels(said.n, said.size).to(self.network.conv_in.weight))
        seen = seen.repeat(n // len(seen), 1, 1, 1)
        told = self.network.hear(said.text[:n])
        pooled, sizes = (None if given is None else given[:n] for given in (said.pooled, said.sizes))

        def residuals(x_t: Tensor, step: Tensor) -> Residuals:
            if not self.speaks(float(step[0]), said.path):
                nothing = x_t.new_zeros(1, 1, 1, 1)
                return Residuals([nothing] * len(self.network.skips), nothing)
            found = self.network(x_t[:n], step[:n], told, seen, pooled=pooled, sizes=sizes)
            found = weighted(found, self.weight, guess=self.guess and not self.network.control.pools)
            return found if n == len(x_t) else beside_nothing(found, len(x_t) - n)

        return residuals


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
