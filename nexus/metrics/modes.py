"""How many modes of its data a model makes, and how much of what it makes lies in one (PacGAN, arXiv:1712.04086)."""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

WITHIN = 3.0  # deviations from a centre: what counts as of its mode
LEAST_SHARE = 0.2  # of its equal share that a class must have to be covered


class Modes(NamedTuple):
    covered: int
    good: float  # share of the points that are of a mode


def point_modes(points: Float[Tensor, "N 2"], centres: Float[Tensor, "K 2"], deviation: float) -> Modes:
    """A mode is covered where at least one point lies within three deviations of its centre, in either direction."""
    away, nearest = torch.cdist(points, centres).min(1)
    good = away <= WITHIN * deviation
    return Modes(len(nearest[good].unique()), good.float().mean().item())


def classes_covered(classes: Int[Tensor, " N"], n_classes: int) -> int:
    """Classes that have at least a fifth of their equal share."""
    return int((classes.bincount(minlength=n_classes) >= LEAST_SHARE * len(classes) / n_classes).sum())


def kinds_covered(kinds: Int[Tensor, " N"], n_kinds: int) -> int:
    """Kinds that came at least once, as stacked MNIST counts them (PacGAN, section 4.2)."""
    return int((kinds.bincount(minlength=n_kinds) > 0).sum())


def divergence_from_even(kinds: Int[Tensor, " N"], n_kinds: int) -> float:
    """KL from how often each kind came to all equally often, in nats: log(n_kinds) where there is but one.

    Of N even draws it is about (n_kinds - 1) / 2N, not 0.
    """
    share = kinds.bincount(minlength=n_kinds).double() / len(kinds)
    return (torch.xlogy(share, share * n_kinds)).sum().item()
