"""How fast music is: beats a minute by librosa's beat tracker (Ellis, 2007)."""

import numpy as np

from nexus.media import Audio
from nexus.metrics.judge import need

TOLERANCE = 0.04  # of the tempo asked for, as MIREX tempo estimation allows 4 % (its "accuracy 1")


def tempo_of(audio: Audio) -> float:
    """Beats a minute; 0 where no beat is found.

    Raises:
        MissingJudge: librosa is not installed.
    """
    librosa = need("librosa", "the beat tracker")
    samples = audio.mono().samples[0]
    if not samples.size or not samples.any():
        return 0.0
    return float(np.atleast_1d(librosa.beat.beat_track(y=samples, sr=audio.rate)[0])[0])


def tempo_right(heard: float | int, asked: float | int, factors: tuple[float | int, ...] = (1,)) -> bool:
    """Whether a tempo is within 4 % of the one asked for, or of that times one of `factors`.

    Raises:
        ValueError: `asked` is not positive.
    """
    if asked <= 0:
        raise ValueError(f"a tempo is positive, got {asked:g}")
    return any(abs(heard / (asked * factor) - 1) <= TOLERANCE for factor in factors)
