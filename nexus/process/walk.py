"""To the end of a sampler's path, telling every step."""

from collections.abc import Callable, Iterable

from torch import Tensor

Progress = Callable[[int, int], None]  # of the steps done, and of all; what it raises stops the walk


def walked(states: Iterable[Tensor], n_steps: int, progress: Progress | None) -> Tensor:
    """The last state; `progress` hears of each.

    Raises:
        ValueError: the sampler made no step.
    """
    walk = []
    for done, state in enumerate(states, 1):
        walk = [state]
        if progress is not None:
            progress(done, n_steps)
    if not walk:
        raise ValueError("the sampler made no step")
    return walk[0]
