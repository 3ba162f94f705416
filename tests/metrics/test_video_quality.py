import numpy as np
import pytest

from nexus.media import Video
from nexus.metrics.video_quality import consistency, flicker, jerkiness, psnr, ssim


def film(levels, size=16):
    frames = np.array(levels, np.uint8)[:, None, None, None]
    return Video(np.broadcast_to(frames, (len(levels), size, size, 3)).copy(), 8)


def noise(seed, n=3, size=24):
    return np.random.default_rng(seed).integers(0, 256, (n, size, size, 3), dtype=np.uint8)


def test_flicker_counts_every_change_and_jerkiness_only_what_is_not_even():
    even, jumping = film([0, 10, 20, 30]), film([0, 10, 0, 10])
    assert flicker(even) == flicker(jumping) == 10
    assert jerkiness(even) == 0
    assert jerkiness(jumping) == 10
    assert flicker(film([250, 5])) == 245  # no wrap-around of bytes


def test_consistency_is_the_mean_cosine_to_the_first_frame_and_the_one_before():
    same = np.tile([[3.0, 4.0]], (4, 1))
    assert consistency(same) == pytest.approx(1)
    turning = np.array([[1.0, 0.0], [0.0, 2.0], [1.0, 0.0]])
    assert consistency(turning) == pytest.approx((0 + 0 + 1 + 0) / 4)


def test_psnr_by_hand():
    assert psnr(film([10, 10]), film([20, 20])) == pytest.approx(20 * np.log10(25.5))
    assert psnr(film([7]), film([7])) == 100


def test_ssim_is_one_for_equals_symmetric_and_falls_with_noise():
    clean = np.repeat(np.arange(0, 240, 10, dtype=np.uint8)[:, None], 24, 1)
    clean = np.broadcast_to(clean[None, ..., None], (3, 24, 24, 3)).copy()
    little, much = ((0.9 * clean + 0.1 * noise(0)), (0.5 * clean + 0.5 * noise(0)))
    original, little, much = (Video(frames.astype(np.uint8), 8) for frames in (clean, little, much))
    assert ssim(original, original) == pytest.approx(1)
    assert ssim(original, little) == pytest.approx(ssim(little, original))
    assert 1 > ssim(original, little) > ssim(original, much) > ssim(original, Video(noise(1), 8))


def test_ssim_of_flat_pictures_is_the_papers_luminance_term():
    c1 = (0.01 * 255) ** 2
    expected = (2 * 100 * 120 + c1) / (100**2 + 120**2 + c1)
    assert ssim(film([100]), film([120])) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(("measure", "least"), [(flicker, 2), (jerkiness, 3)])
def test_films_that_are_too_short_are_refused(measure, least):
    with pytest.raises(ValueError, match=f"at least {least} frames, got 1"):
        measure(film([1]))
    with pytest.raises(ValueError, match="one size and length"):
        psnr(film([1, 2]), film([1]))
