"""Several results of each prompt, from which the nearest to it is kept, as in the code of AudioLDM (arXiv:2301.12503).

A ranker is any object whose `similarity(made, prompts)` gives one number for each pair.
"""

from collections.abc import Sequence
from typing import Any, TypeVar

Media = TypeVar("Media")
MOST = 64


def check_candidates(n: int, ranker: Any, example: str) -> None:
    """Refuses, before work starts, candidates that can't be; `example` names a ranker that can be loaded.

    Raises:
        ValueError: too many or too few candidates, or several without a ranker.
    """
    if not 1 <= n <= MOST:
        raise ValueError(f"candidates must be 1 to {MOST}, got {n}")
    if n > 1 and ranker is None:
        raise ValueError(
            f"to choose from {n} candidates takes a ranker: set model.ranker = nexus.load({example!r}), or ask for "
            "candidates=1"
        )


def repeated(prompts: Sequence[str], n: int) -> list[str]:
    """Each prompt n times, one after another."""
    return [prompt for prompt in prompts for _ in range(n)]


def nearest(made: Sequence[Media], prompts: Sequence[str], n: int, ranker: Any) -> list[Media]:
    """Of each prompt's n results the one that the ranker finds nearest; the first of equals."""
    if n == 1:
        return list(made)
    best = ranker.similarity(list(made), repeated(prompts, n)).view(-1, n).argmax(1).tolist()
    return [made[n * i + chosen] for i, chosen in enumerate(best)]
