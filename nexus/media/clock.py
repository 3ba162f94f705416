"""The one clock of pictures and sound: integer frames and samples, rates as fractions."""

import math
from fractions import Fraction


def exact_rate(fps: Fraction | int | float | str) -> Fraction:
    """Frames a second as a fraction; broadcast rates given as decimals (23.976, 29.97) become n/1001."""
    rate = Fraction(fps)
    if isinstance(fps, float):
        broadcast = Fraction(round(rate * Fraction(1001, 1000)) * 1000, 1001)
        rate = broadcast if abs(broadcast - rate) < Fraction(1, 1000) else rate.limit_denominator(1001)
    if rate <= 0:
        raise ValueError(f"fps must be positive, got {fps}")
    return rate


def sample_at(frame: int, fps: Fraction, rate: int) -> int:
    """The sample (or tick of any clock of `rate` Hz) nearest to the beginning of a frame; halves round up."""
    return math.floor(frame * rate / fps + Fraction(1, 2))
