"""Whether a variational autoencoder uses its code: the KL of every unit, and which of them are active.

A unit has collapsed where its posterior is the prior whatever the picture: its KL is nearly 0, its mean does not move.
"""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from nexus.process.variational import active_units


@dataclass(frozen=True)
class PosteriorReport:
    kl: tuple[float, ...]  # nats, the mean over pictures, of each unit
    active: tuple[bool, ...]  # Burda et al., arXiv:1509.00519, section 5.1

    @property
    def n_active(self) -> int:
        return sum(self.active)

    def __str__(self) -> str:
        total = sum(self.kl)
        asleep = [str(i) for i, active in enumerate(self.active) if not active]
        which = f"; collapsed: {', '.join(asleep)}" if asleep else ""
        return f"{self.n_active} of {len(self.active)} units are active, {total:.1f} nats in all{which}"


@torch.no_grad()
def posterior_report(model: Any, x: Float[Tensor, "B C H W"]) -> PosteriorReport:
    """Of a model with `encode(x) -> Posterior`, on pictures that should be held-out ones."""
    posterior = model.encode(x)
    active = active_units(posterior.mean)
    return PosteriorReport(tuple(posterior.kl().mean(0).tolist()), tuple(active.tolist()))
