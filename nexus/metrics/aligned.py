"""Two recordings of the same moments, as judges that compare sample by sample want them."""

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from nexus.media import Audio

TOLERANCE = 0.1  # seconds that codecs may add or lose at the end


def aligned(
    made: Audio, reference: Audio, rate: int | None = None
) -> tuple[Float[ndarray, " L"], Float[ndarray, " L"]]:
    """Both in mono at one rate (the reference's by default), cut to the shorter; float64.

    Raises:
        ValueError: one is empty, or their lengths differ by more than 0.1 s, so that they are not the same moments.
    """
    rate = reference.rate if rate is None else rate
    if not made.length or not reference.length:
        raise ValueError("cannot compare with an empty sound")
    if abs(made.seconds - reference.seconds) > TOLERANCE:
        raise ValueError(
            f"{made.seconds:.2f} s cannot be compared sample by sample with {reference.seconds:.2f} s; "
            "these are not the same moments"
        )
    a, b = (audio.mono().resample(rate).samples[0].astype(np.float64) for audio in (made, reference))
    length = min(len(a), len(b))
    return a[:length], b[:length]
