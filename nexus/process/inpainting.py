"""Inpainting with a model that knows nothing of it (RePaint's conditioning, arXiv:2201.09865, without its resampling).

Where a picture is kept, the estimate of the data is the picture: a field becomes a field, and every solver that would
be exact for constant data takes the kept part along its own path, beside the part that is painted.
"""

from jaxtyping import Float
from torch import Tensor

from nexus.process.diffusion import DataField
from nexus.process.levels import Level


def inpainted(
    field: DataField,
    kept: Float[Tensor, " B *axes"],
    mask: Float[Tensor, " #B ..."],
    start: tuple[Level, Float[Tensor, " B *axes"]] | None = None,
) -> DataField:
    """Estimates the data where `mask` is 1, and knows it, `kept`, where it is 0.

    Args:
        start: the level of the first step, and what is shown there where the picture is kept, in place of its noised
            self: official pipelines that begin with pure noise show noise everywhere.
    """

    def estimate(x: Tensor, level: Level) -> Tensor:
        if start is not None and level == start[0]:
            x = mask * x + (1 - mask) * start[1]
        return mask * field(x, level) + (1 - mask) * kept

    return estimate
