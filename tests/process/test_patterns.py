import pytest
import torch

from nexus.process import patterns

X = -1  # nothing here


def test_delay_of_five_frames_is_the_papers():
    """arXiv:2306.05284, figure 1, with the empty first step that decoding starts from: 9 steps for T = 5, K = 4."""
    assert patterns.delay(5, (0, 1, 2, 3)).tolist() == [
        [X, 0, 1, 2, 3, 4, X, X, X],
        [X, X, 0, 1, 2, 3, 4, X, X],
        [X, X, X, 0, 1, 2, 3, 4, X],
        [X, X, X, X, 0, 1, 2, 3, 4],
    ]


def test_stereo_pairs_share_a_delay():
    assert patterns.delay(2, (0, 0, 1, 1)).tolist() == [[X, 0, 1, X], [X, 0, 1, X], [X, X, 0, 1], [X, X, 0, 1]]


def test_parallel_and_flattened():
    assert patterns.parallel(3, 2).tolist() == [[X, 0, 1, 2], [X, 0, 1, 2]]
    assert patterns.flattened(2, 3).tolist() == [
        [X, 0, X, X, 1, X, X],
        [X, X, 0, X, X, 1, X],
        [X, X, X, 0, X, X, 1],
    ]


def test_apply_writes_codes_and_fills_with_special():
    codes = torch.tensor([[[1, 2], [3, 4]]])
    layout = patterns.delay(2, (0, 1))
    assert patterns.apply(codes, layout, 9).tolist() == [[[9, 1, 2, 9], [9, 9, 3, 4]]]
    assert patterns.valid(layout).tolist() == [[False, True, True, False], [False, False, True, True]]


@pytest.mark.parametrize("n_frames", [1, 2, 7])
@pytest.mark.parametrize("kind", ["delay", "stereo", "parallel", "flattened"])
def test_revert_undoes_apply(kind, n_frames):
    layout = {
        "delay": lambda: patterns.delay(n_frames, (0, 1, 2, 3)),
        "stereo": lambda: patterns.delay(n_frames, (0, 0, 1, 1)),
        "parallel": lambda: patterns.parallel(n_frames, 4),
        "flattened": lambda: patterns.flattened(n_frames, 4),
    }[kind]()
    codes = torch.randint(0, 9, (2, 4, n_frames))
    assert torch.equal(patterns.revert(patterns.apply(codes, layout, 9), layout, n_frames), codes)
    assert patterns.valid(layout).sum() == 4 * n_frames and not patterns.valid(layout)[:, 0].any()


def test_delays_start_from_zero():
    with pytest.raises(ValueError, match="start from 0"):
        patterns.delay(4, (1, 2))
