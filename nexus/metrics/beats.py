"""Whether something sounds where the beat is: the beat alignment score of dance (arXiv:2101.08779), of music itself.

Beats (Ellis, 2007) and onsets are librosa's.
"""

from typing import Any

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from nexus.media import Audio
from nexus.metrics.judge import Judge, Measure, Verdict, need, version

WIDTH = 0.05  # seconds, the 3 frames of 60 a second of the paper
NAME = "beat alignment"


def alignment(beats: Float[ndarray, " N"], onsets: Float[ndarray, " M"]) -> float:
    """Mean over the beats of exp(-d² / 2σ²), d to the nearest onset; all in seconds; 0 to 1.

    Raises:
        ValueError: no beats or no onsets.
    """
    if not len(beats) or not len(onsets):
        raise ValueError(f"there is no {'beat' if not len(beats) else 'onset'} to be heard")
    distance = np.abs(beats[:, None] - onsets[None]).min(1)
    return float(np.exp(-(distance**2) / (2 * WIDTH**2)).mean())


def beat_alignment(audio: Audio) -> float:
    """How near the beats are to where something begins to sound.

    Raises:
        MissingJudge: librosa is not installed.
        ValueError: silence, or no beats.
    """
    librosa = need("librosa", "the beat tracker")
    samples = audio.mono().samples[0]
    if not samples.size or not samples.any():
        raise ValueError("silence has no beat")
    beats = librosa.beat.beat_track(y=samples, sr=audio.rate, units="time", trim=False)[1]
    return alignment(np.asarray(beats), np.asarray(librosa.onset.onset_detect(y=samples, sr=audio.rate, units="time")))


def beat_judge() -> Judge:
    """Of samples whose field `heard` has the `alignment`. Raises MissingJudge."""
    need("librosa", "the beat tracker")

    def values(sample: Any) -> Verdict:
        return Verdict(values={NAME: sample.heard.alignment})

    measures = (Measure(name=NAME),)
    return Judge(name="librosa beats and onsets", version=version("librosa"), measures=measures, values=values)
