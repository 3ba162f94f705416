"""What a Fréchet audio distance hears with: a network that others trained, and how sounds are cut for it."""

from collections.abc import Callable
from dataclasses import dataclass

from jaxtyping import Float
from numpy import ndarray

from nexus.media import Audio


@dataclass(frozen=True, kw_only=True)
class Embedding:
    """Axes: N windows, D width of the features."""

    name: str
    version: str
    weights: str  # digest
    rate: int  # Hz that it hears at
    windows: str  # how a sound is cut, for the card
    embed: Callable[[Audio], Float[ndarray, "N D"]]
