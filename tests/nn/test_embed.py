"""Sinusoidal embeddings against the reference, and against their formula."""

import math

import pytest
import torch

from nexus.nn.embed import sincos, sincos_3d, timestep_embedding


def test_timesteps_equal_the_reference():
    embeddings = pytest.importorskip("diffusers.models.embeddings")
    t = torch.tensor([0, 1, 37, 999])
    expected = embeddings.Timesteps(32, flip_sin_to_cos=True, downscale_freq_shift=0)(t)
    result = timestep_embedding(t, 32)
    assert result.shape == (4, 32) and result.dtype == torch.float32
    torch.testing.assert_close(result, expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(timestep_embedding(t.float(), 32), expected, atol=1e-5, rtol=1e-5)


def test_timesteps_turn_at_frequencies_from_one_down_to_the_period():
    result = timestep_embedding(torch.tensor([2.0]), 4, max_period=100.0)[0]
    assert result.tolist() == pytest.approx([math.cos(2), math.cos(0.2), math.sin(2), math.sin(0.2)], abs=1e-6)


def test_positions_have_sines_then_cosines():
    result = sincos(torch.tensor([0.0, 3.0]), 4)
    assert result[0].tolist() == [0, 0, 1, 1]
    assert result[1].tolist() == pytest.approx([math.sin(3), math.sin(0.03), math.cos(3), math.cos(0.03)], abs=1e-6)


@pytest.mark.parametrize(("frames", "rows", "columns"), [(3, 4, 4), (2, 3, 5), (1, 5, 3)])
def test_places_equal_the_reference(frames, rows, columns):
    embeddings = pytest.importorskip("diffusers.models.embeddings")
    # The reference takes (width, height).
    expected = embeddings.get_3d_sincos_pos_embed(32, (columns, rows), frames, 1.875, 1.0).flatten(0, 1)
    axes = (torch.arange(frames) * 1.0, torch.arange(rows) / 1.875, torch.arange(columns) / 1.875)
    result = sincos_3d(32, *axes)
    assert result.shape == (frames * rows * columns, 32) and result.unique(dim=0).shape[0] == len(result)
    torch.testing.assert_close(result, expected.float(), atol=1e-5, rtol=1e-5)
