"""Rotary positions: relative, length-preserving, and equal to what the references turn by."""

import pytest
import torch

from nexus.nn.rope import apply_rope, rope_frequencies, rope_frequencies_3d, rope_frequencies_of_axes


def rotate(x: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
    return apply_rope(x, *rope_frequencies(x.shape[-1], positions))


def test_scores_depend_on_distance_only():
    q, k = torch.randn(2, 1, 1, 16, generator=torch.Generator().manual_seed(0)).double()
    near, far = (
        (
            rotate(q, torch.tensor([a], dtype=torch.float64)) * rotate(k, torch.tensor([a - 3], dtype=torch.float64))
        ).sum()
        for a in (5, 1005)
    )
    torch.testing.assert_close(near, far)
    other = (rotate(q, torch.tensor([5.0]).double()) * rotate(k, torch.tensor([4.0]).double())).sum()
    assert abs(near - other) > 1e-3


def test_turning_keeps_lengths_and_position_zero():
    x = torch.randn(2, 3, 7, 8)
    turned = rotate(x, torch.arange(7))
    torch.testing.assert_close(turned.norm(dim=-1), x.norm(dim=-1))
    torch.testing.assert_close(turned[:, :, 0], x[:, :, 0])
    assert rotate(x.bfloat16(), torch.arange(7)).dtype == torch.bfloat16


def test_pairs_turn_by_the_angle_of_the_paper():
    x = torch.tensor([[1.0, 0.0, 1.0, 0.0]])
    position, theta = torch.tensor([2.0]), 100.0
    expected = torch.tensor([[2.0, 2.0, 0.2, 0.2]])
    expected = torch.stack([expected[0, 0].cos(), expected[0, 1].sin(), expected[0, 2].cos(), expected[0, 3].sin()])[
        None
    ]
    torch.testing.assert_close(apply_rope(x, *rope_frequencies(4, position, theta)), expected)


@pytest.mark.filterwarnings("ignore")
def test_equals_x_transformers():
    reference = pytest.importorskip("x_transformers.x_transformers")
    x = torch.randn(2, 4, 9, 16)
    freqs, _ = reference.RotaryEmbedding(16).forward_from_seq_len(9)
    torch.testing.assert_close(rotate(x, torch.arange(9)), reference.apply_rotary_pos_emb(x, freqs))


def test_three_axes_equal_diffusers():
    embeddings = pytest.importorskip("diffusers.models.embeddings")
    cos, sin = embeddings.get_3d_rotary_pos_embed(32, ((0, 0), (3, 5)), (3, 5), 4)
    ours = rope_frequencies_3d(32, torch.arange(4.0), torch.arange(3.0), torch.arange(5.0))
    torch.testing.assert_close(ours[0].repeat_interleave(2, dim=-1), cos)
    torch.testing.assert_close(ours[1].repeat_interleave(2, dim=-1), sin)
    x = torch.randn(1, 2, 60, 32)
    torch.testing.assert_close(apply_rope(x, *ours), embeddings.apply_rotary_emb(x, (cos, sin)))


def test_widths_that_do_not_split_are_refused():
    with pytest.raises(ValueError, match="even dim"):
        rope_frequencies(5, torch.arange(3))
    with pytest.raises(ValueError, match="multiple of 16"):
        rope_frequencies_3d(24, torch.arange(2), torch.arange(2), torch.arange(2))


def test_axes_have_their_own_channels():
    rows, columns = torch.tensor([0.0, 1.0, 2.0]), torch.tensor([5.0, 0.0, 3.0])
    cos, sin = rope_frequencies_of_axes((4, 6), [rows, columns])
    for part, dim, axis in ((slice(0, 2), 4, rows), (slice(2, 5), 6, columns)):
        expected_cos, expected_sin = rope_frequencies(dim, axis)
        torch.testing.assert_close(cos[:, part], expected_cos)
        torch.testing.assert_close(sin[:, part], expected_sin)
