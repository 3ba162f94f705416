"""Patches: there and back, equal to the usual convolution, in both orders."""

import pytest
import torch
import torch.nn.functional as F

from nexus.nn.patch import PatchEmbed, from_patches, from_pixels, grid_positions, to_patches


@pytest.mark.parametrize("size", [1, 2, 3])
def test_patches_come_back(size, rng):
    x = torch.randn(2, 5, 4 * size, 3 * size, generator=rng)
    patches = to_patches(x, size)
    assert patches.shape == (2, 12, 5 * size * size)
    torch.testing.assert_close(from_patches(patches, 4, size), x)
    inside_out = patches.unflatten(-1, (5, -1)).mT.flatten(-2)
    torch.testing.assert_close(from_pixels(inside_out, 4, size), x)


def test_the_embedding_is_the_usual_convolution(rng):
    embed, x = PatchEmbed(3, 8, 2), torch.randn(2, 3, 6, 10, generator=rng)
    expected = F.conv2d(x, embed.proj.weight.unflatten(1, (3, 2, 2)), embed.proj.bias, stride=2)
    torch.testing.assert_close(embed(x), expected.flatten(2).mT, atol=1e-6, rtol=1e-5)


def test_sides_that_patches_do_not_fill_are_refused():
    with pytest.raises(ValueError, match=r"multiples of 2, got \[5, 8\]; nearest is \[4, 8\]"):
        PatchEmbed(3, 8, 2)(torch.zeros(1, 3, 5, 8))


@pytest.mark.parametrize(("rows", "columns", "base", "stretch"), [(4, 4, 4, 1.0), (3, 5, 4, 2.0), (1, 7, 64, 0.5)])
def test_positions_equal_the_reference(rows, columns, base, stretch):
    embeddings = pytest.importorskip("diffusers.models.embeddings")
    expected = embeddings.get_2d_sincos_pos_embed(16, (rows, columns), base_size=base, interpolation_scale=stretch)
    result = grid_positions(16, rows, columns, base=base, stretch=stretch)
    assert result.shape == (rows * columns, 16) and result.unique(dim=0).shape[0] == len(result)
    torch.testing.assert_close(result, expected.float(), atol=1e-6, rtol=1e-5)


def test_positions_can_be_trained_on_after_inference():
    with torch.inference_mode():
        places = grid_positions(8, 2, 2, base=2)
    weight = torch.ones(8, requires_grad=True)
    (places * weight).sum().backward()
    torch.testing.assert_close(weight.grad, places.sum(0))


def test_positions_of_a_network_built_without_memory_are_not_kept():
    with torch.device("meta"):
        grid_positions(8, 3, 2, base=2)
    assert grid_positions(8, 3, 2, base=2).device.type == "cpu"
