"""What adapters add to a transformer's blocks in one step: a ControlNet after them, an IP-Adapter within them.

Axes: B batch, T tokens of the picture, D width.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from nexus.nn.joint import Hear, Heard
from nexus.nn.self_attention import Heads


@dataclass(frozen=True)
class Beside:
    """An entry for each block, in order, None where nothing is added; an empty tuple adds nothing anywhere."""

    residuals: tuple[Float[Tensor, "B T D"] | None, ...] = ()
    hears: tuple[Hear | None, ...] = ()

    def hear(self, i: int) -> Hear | None:
        return self.hears[i] if self.hears else None

    def after(self, i: int, x: Float[Tensor, "B S D"], n_before: int = 0) -> Float[Tensor, "B S D"]:
        """What block i gave, with what is added to it; `n_before` tokens of text stand first and stay as they are."""
        residual = self.residuals[i] if self.residuals else None
        if residual is None:
            return x
        return x + (F.pad(residual, (0, 0, n_before, 0)) if n_before else residual)

    def scaled(self, weight: float | int) -> "Beside":
        """What a ControlNet adds, so many times."""
        return replace(self, residuals=tuple(None if r is None else weight * r for r in self.residuals))


NOTHING = Beside()


def together(several: Sequence[Beside]) -> Beside:
    """What several adapters add: sums."""
    if len(several) < 2:
        return several[0] if several else NOTHING
    residuals = [beside.residuals for beside in several if beside.residuals]
    hears = [beside.hears for beside in several if beside.hears]
    return Beside(
        tuple(_sum(block) for block in zip(*residuals, strict=True)),
        tuple(_hear_all(block) for block in zip(*hears, strict=True)),
    )


def _sum(several: Sequence[Tensor | None]) -> Tensor | None:
    found = [residual for residual in several if residual is not None]
    return sum(found[1:], found[0]) if found else None


def _hear_all(several: Sequence[Hear | None]) -> Hear | None:
    hears = [hear for hear in several if hear is not None]

    def hear_all(heads: Heads) -> Heard:
        heard = [hear(heads) for hear in hears]
        return Heard(sum(one.attended for one in heard), sum(one.tokens for one in heard))

    return hear_all if hears else None
