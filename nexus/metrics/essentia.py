"""Essentia (Bogdanov et al., ISMIR 2013), whose judges of tempo and key hear mono at 44.1 kHz."""

from types import ModuleType

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from nexus.media import Audio
from nexus.metrics.judge import need

RATE = 44_100


def standard(judge: str) -> ModuleType:
    """Its algorithms, told to keep to themselves what they would log.

    Raises:
        MissingJudge: essentia is not installed.
    """
    log = need("essentia", judge).log
    log.infoActive = log.warningActive = False
    return need("essentia.standard", judge)


def samples_of(audio: Audio) -> Float[ndarray, " L"] | None:
    """As it hears them; None for silence."""
    if not audio.length or not audio.samples.any():
        return None
    return np.ascontiguousarray(audio.mono().resample(RATE).samples[0], dtype=np.float32)
