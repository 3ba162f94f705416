from fractions import Fraction

import numpy as np
import pytest

from nexus.film.fit import fit_music, fit_video, retimed
from nexus.media.audio import Audio
from nexus.media.video import Video


@pytest.mark.parametrize(
    ("n", "frames", "first", "last", "most"),
    [
        (17, 17, 0, 16, 1.0),  # as it was made
        (17, 24, 0, 16, 0.75),  # slower, once through
        (17, 14, 0, 16, 1.25),  # faster
        (17, 6, 0, 7.5, 1.5),  # much too short: at FASTEST, cut
        (17, 80, 0, 7.5, 0.5),  # much too long: at SLOWEST, there and back and there
        (1, 5, 0, 0, 0),
    ],
)
def test_a_clip_is_retimed_within_limits(n, frames, first, last, most):
    places = retimed(n, Fraction(8), frames, Fraction(8))
    assert len(places) == frames
    assert places[0] == first and places[-1] == pytest.approx(last)
    assert np.abs(np.diff(places)).max() <= most
    assert places.min() >= 0 and places.max() <= n - 1


def test_frame_rates_are_kept_apart():
    assert retimed(9, Fraction(8), 27, Fraction(24))[-1] == 8


def test_a_clip_covers_the_frame():
    frames = np.zeros((3, 16, 16, 3), np.uint8)
    frames[:, :, 8:] = 200
    fitted = fit_video(Video(frames, 8), 6, Fraction(8), 64, 32)
    assert fitted.shape == (6, 32, 64, 3)
    assert fitted[:, :, :28].max() < 20 and fitted[:, :, 36:].min() > 180


def test_between_frames_neighbours_are_blended():
    frames = np.stack([np.full((8, 8, 3), value, np.uint8) for value in (0, 100, 200)])
    fitted = fit_video(Video(frames, 8), 5, Fraction(8), 8, 8)
    assert fitted[:, 4, 4, 0].tolist() == [0, 50, 100, 150, 200]


def test_music_repeats_on_whole_bars():
    """At 120 bpm a bar lasts 2 s: a click on each bar of a clip of 7 s stays on the bars when it is repeated."""
    rate = 8000
    clip = np.zeros(7 * rate, np.float32)
    clip[rate // 2 :: 2 * rate] = 1.0  # half a second after each bar line
    looped = fit_music(Audio(clip[None], rate), "piano, 120 bpm", 20 * rate)
    assert looped.length == 20 * rate
    clicks = np.flatnonzero(looped.samples[0] > 0.2)
    clicks = clicks[clicks < 18 * rate]
    assert len(clicks) == 9
    assert ((clicks - rate // 2) % (2 * rate) <= 1).all()


def test_long_music_is_cut_and_faded():
    music = fit_music(Audio(np.ones((1, 50000), np.float32) * 0.5, 8000), "piano", 30000)
    assert music.length == 30000
    assert abs(music.samples[0, -1]) < 0.01 and abs(music.samples[0, 0]) < 0.01
    assert music.samples[0, 10000] == pytest.approx(0.5)
