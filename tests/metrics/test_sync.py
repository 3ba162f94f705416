"""A ball that flashes and clicks: the shift between the two is found, whichever comes first."""

import numpy as np
import pytest

from nexus.media import Audio, Video
from nexus.metrics.sync import av_offset

FPS, RATE = 25, 16_000
TIMES = (0.6, 1.4, 1.9, 3.1, 3.8, 4.3)  # seconds


def flashes():
    frames = np.random.default_rng(0).integers(0, 6, (5 * FPS, 8, 8, 3))
    for time in TIMES:
        for i in range(8):  # bright at once, dark again slowly
            frames[round(time * FPS) + i] += 200 - 25 * i
    return Video(frames.astype(np.uint8), FPS)


def clicks(late):
    samples = 1e-4 * np.random.default_rng(1).standard_normal(5 * RATE)
    for time in TIMES:
        start = round((time + late) * RATE)
        samples[start : start + 800] += 0.5 * np.sin(np.arange(800))
    return Audio(samples.astype(np.float32), RATE)


@pytest.mark.parametrize("late", [-0.3, -0.1, 0.0, 0.12, 0.5])
def test_the_shift_is_found(late):
    found = av_offset(flashes(), clicks(late))
    assert found.seconds == pytest.approx(late, abs=0.5 / FPS) and found.correlation > 0.3
    assert (found.at_zero > 0.3) == (late == 0)


def test_what_cannot_be_compared_is_refused():
    still = Video(np.zeros((5 * FPS, 8, 8, 3), np.uint8), FPS)
    with pytest.raises(ValueError, match="the picture never changes"):
        av_offset(still, clicks(0))
    with pytest.raises(ValueError, match="the sound never begins"):
        av_offset(flashes(), Audio.silence(5 * RATE, RATE))
    with pytest.raises(ValueError, match=r"3 s of film and of sound, got 5\.0 and 1\.0 s"):
        av_offset(flashes(), Audio.silence(RATE, RATE))
