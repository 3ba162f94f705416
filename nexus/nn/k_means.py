"""k-means over more rows than fit into one step: a start far apart (k-means++), then mini-batches.

Start: Arthur and Vassilvitskii, 2007. Mini-batches: Sculley, 2010: a centre moves towards the mean of its rows by one
over how many it has had, so that it is the mean of all of them.
Axes: R rows, D width, N centres.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from nexus.nn.quantize import assigned, draw_rows, nearest

_ENOUGH = 1e-3  # of its mean distance that a pass has to gain, or it is the last
_START_ROWS = 20  # a centre that the start looks at


@dataclass(frozen=True)
class Clustering:
    centres: Float[Tensor, "N D"]
    distance: float  # mean squared distance of a row to its centre
    passes: int


def far_apart(x: Float[Tensor, "R D"], n: int, generator: torch.Generator) -> Float[Tensor, "N D"]:
    """n rows, each drawn in proportion to its squared distance from those before (k-means++)."""
    chosen = [int(torch.randint(len(x), (), generator=generator))]
    left = squared_distance(x, x[chosen[0]][None])
    for _ in range(n - 1):
        # Where all rows are centres already any may be drawn.
        weights = left if left.max() > 0 else torch.ones_like(left)
        shares = weights.double().cumsum(0)
        at = torch.rand((), dtype=torch.float64, generator=generator).to(x.device) * shares[-1]
        chosen.append(min(int(torch.searchsorted(shares, at, right=True)), len(x) - 1))
        left = torch.minimum(left, squared_distance(x, x[chosen[-1]][None]))
    return x[chosen]


def squared_distance(x: Float[Tensor, "R D"], centres: Float[Tensor, "N D"]) -> Float[Tensor, " R"]:
    """Of each row to its nearest centre."""
    return (x - centres[nearest(x, centres)]).square().sum(-1)


def mini_batch_k_means(
    x: Float[Tensor, "R D"],
    n: int,
    generator: torch.Generator,
    *,
    batch_size: int = 10_000,
    max_passes: int = 100,
    progress: Callable[[int, int], None] | None = None,
) -> Clustering:
    """Centres of x; passes end when one gains less than a thousandth. A centre without rows is drawn anew.

    Raises:
        ValueError: fewer rows than centres.
    """
    if not 1 <= n <= len(x):
        raise ValueError(f"{n} centres need at least as many rows, got {len(x)}")
    centres = far_apart(draw_rows(x, min(len(x), _START_ROWS * n), generator), n, generator)
    best, distance, had = float("inf"), float("inf"), torch.zeros(n, dtype=x.dtype, device=x.device)
    for done in range(max_passes):
        before, order = had.clone(), torch.randperm(len(x), generator=generator).to(x.device)
        for rows in order.split(batch_size):
            counts, sums = assigned(x[rows], nearest(x[rows], centres), n)
            had += counts
            centres = centres + (sums - counts[:, None] * centres) / had.clamp(min=1)[:, None]
        unused = had == before
        centres[unused] = draw_rows(x, int(unused.sum()), generator)
        distance = torch.cat([squared_distance(part, centres) for part in x.split(batch_size)]).mean().item()
        if progress is not None:
            progress(done + 1, max_passes)
        if not unused.any() and distance > best * (1 - _ENOUGH):
            return Clustering(centres, distance, done + 1)
        best = min(best, distance)
    return Clustering(centres, distance, max_passes)


class Reservoir:
    """A fair draw of at most `size` rows out of as many as come: those with the least random keys."""

    def __init__(self, size: int, generator: torch.Generator):
        self.size, self.generator = size, generator
        self.seen = 0
        self._rows: Tensor | None = None
        self._keys = torch.zeros(0, dtype=torch.float64)

    def add(self, rows: Float[Tensor, "R D"]) -> None:
        rows = rows.float().cpu()
        self.seen += len(rows)
        keys = torch.rand(len(rows), dtype=torch.float64, generator=self.generator)
        if len(self._keys) == self.size:  # most come to nothing; saves the copy of all that is held
            wanted = keys < self._keys.max()
            rows, keys = rows[wanted], keys[wanted]
        if not len(rows):
            return
        self._rows = rows if self._rows is None else torch.cat([self._rows, rows])
        self._keys = torch.cat([self._keys, keys])
        if len(self._keys) > self.size:
            kept = self._keys.topk(self.size, largest=False).indices
            self._rows, self._keys = self._rows[kept], self._keys[kept]

    @property
    def rows(self) -> Float[Tensor, "R D"]:
        """Raises ValueError where nothing came."""
        if self._rows is None:
            raise ValueError("no rows have come")
        return self._rows
