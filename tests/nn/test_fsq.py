"""Finite scalar quantisation: its levels and digits by hand, and against the reference package."""

import itertools

import pytest
import torch

from nexus.nn.fsq import FiniteScalarQuantizer, FSQConfig

OFFICIAL = [(8, 5, 5, 5), (8, 7, 6, 6)]


def test_levels_and_digits_by_hand():
    quantizer = FiniteScalarQuantizer(FSQConfig(n_groups=2, levels=(4, 3)))
    # Four levels are -1, -1/2, 0, 1/2; three are -1, 0, 1. The first number is the least significant digit.
    latent = torch.tensor([[-9.0, 9.0, 9.0, -0.1], [0.0, 0.0, 9.0, -9.0]]).mT[None]  # [1, 4, 2]
    result = quantizer(latent)
    assert result.vectors[0].mT.tolist() == [[-1.0, 1.0, 0.5, 0.0], [0.0, 0.0, 0.5, -1.0]]
    assert result.codes[0].mT.tolist() == [[0 + 4 * 2, 3 + 4 * 1], [2 + 4 * 1, 3 + 4 * 0]]
    assert torch.equal(quantizer.decode(result.codes), result.vectors)


@pytest.mark.parametrize("levels", [*OFFICIAL, (2, 9, 3), (10,)])
def test_every_code_stands_for_its_own_vector(levels):
    config = FSQConfig(n_groups=1, levels=levels)
    quantizer = FiniteScalarQuantizer(config)
    vectors = quantizer.decode(torch.arange(config.codebook_size)[None, None])[0].mT
    assert config.codebook_size == len(vectors) == len(vectors.unique(dim=0))
    grid = [[digit - n // 2 for digit in range(n)] for n in levels]
    expected = torch.tensor([digits[::-1] for digits in itertools.product(*reversed(grid))])
    assert torch.equal(vectors * torch.tensor([n // 2 for n in levels]), expected.float())
    # A latent that is bounded to a vector is given its code.
    scale = (torch.tensor(levels) - 1) / 2 * (1 - 1e-3)
    offset = torch.tensor([0.5 if n % 2 == 0 else 0.0 for n in levels])
    latent = torch.atanh(((expected + offset) / scale).clamp(-1 + 1e-6, 1 - 1e-6)) - torch.tan(offset / scale)
    assert torch.equal(quantizer.encode(latent.mT[None])[0, 0], torch.arange(config.codebook_size))


@pytest.mark.parametrize("levels", OFFICIAL)
def test_equals_the_reference_package(levels):
    package = pytest.importorskip("vector_quantize_pytorch", exc_type=ImportError)
    # The package widens the range where the paper and NeMo narrow it.
    quantizer, reference = FiniteScalarQuantizer(FSQConfig(levels=levels, margin=-1e-3)), package.FSQ(list(levels))
    torch.manual_seed(0)
    latent = torch.randn(2, 32, 201) * 1.5
    result = quantizer(latent)
    assert len(result.codes.unique()) > 300
    for group in range(8):
        vectors, codes = reference(latent[:, 4 * group : 4 * group + 4].mT)
        torch.testing.assert_close(result.vectors[:, 4 * group : 4 * group + 4], vectors.mT, atol=1e-6, rtol=0)
        assert torch.equal(result.codes[:, group], codes.long())


def test_no_number_leaves_its_levels():
    quantizer = FiniteScalarQuantizer(FSQConfig(n_groups=3, levels=(2, 3, 8, 9)))
    latent = torch.linspace(-1e6, 1e6, 2001).expand(1, 12, -1)
    codes = quantizer.encode(latent)
    assert codes.min() == 0
    assert codes.max() == 2 * 3 * 8 * 9 - 1
    assert torch.equal(quantizer.decode(codes), quantizer(latent).vectors)


def test_gradients_pass_the_rounding_straight_through():
    quantizer, latent = FiniteScalarQuantizer(FSQConfig(n_groups=1, levels=(5,))), torch.tensor([[[0.4, -2.0]]])
    latent.requires_grad_()
    (gradient,) = torch.autograd.grad(quantizer(latent).vectors.sum(), latent)
    torch.testing.assert_close(gradient, 0.999 * (1 - latent.tanh() ** 2))  # 4 / 2 levels, over 5 // 2


def test_perplexity_counts_the_codes_in_use():
    quantizer = FiniteScalarQuantizer(FSQConfig(n_groups=2, levels=(4,)))
    latent = torch.tensor([[[-9.0, -9.0, 9.0, 9.0], [0.0, 0.0, 0.0, 0.0]]])
    torch.testing.assert_close(quantizer(latent).perplexity, torch.tensor([2.0, 1.0]))


def test_wrong_codes_and_levels_are_refused():
    quantizer = FiniteScalarQuantizer(FSQConfig(n_groups=2, levels=(4, 3)))
    with pytest.raises(ValueError, match="0 to 11, got 0 to 12"):
        quantizer.decode(torch.tensor([[[0], [12]]]))
    with pytest.raises(ValueError, match="2 codebooks holds channels of its own, got 1"):
        quantizer.decode(torch.zeros(1, 1, 3, dtype=torch.int64))
    with pytest.raises(ValueError, match="levels of at least 2"):
        FSQConfig(levels=(8, 1))
    with pytest.raises(ValueError, match="31 bits"):
        FSQConfig(levels=(1000, 1000, 1000, 1000))
    assert quantizer.decode(torch.zeros(1, 2, 0, dtype=torch.int64)).shape == (1, 4, 0)
