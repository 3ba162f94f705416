"""The split quantiser: both branches hear the same latent, depths, losses and learning."""

import pytest
import torch

from nexus.nn.quantize import QuantizerConfig, nearest
from nexus.nn.split_quantize import SplitQuantizer

CONFIG = QuantizerConfig(n_codebooks=4, codebook_size=8, dim=5, k_means_steps=2)


def quantizer() -> SplitQuantizer:
    torch.manual_seed(0)
    return SplitQuantizer(CONFIG, n_semantic=1, latent_dim=6).eval()


@torch.no_grad()
def test_both_branches_hear_the_latent_itself():
    model, latent = quantizer(), torch.randn(2, 6, 7)
    codes = model.encode(latent)
    assert codes.shape == (2, 4, 7)
    for branch, k in ((model.semantic, 0), (model.acoustic, 1)):
        rows = torch.nn.functional.linear(latent.mT, branch.proj_in.weight).flatten(0, 1)
        expected = nearest(rows, branch.quantizer.codebooks[0].vectors).view(2, 7)
        assert torch.equal(codes[:, k], expected)
    parts = model.semantic.decode(codes[:, :1]) + model.acoustic.decode(codes[:, 1:])
    torch.testing.assert_close(model.decode(codes), parts)


@torch.no_grad()
def test_forward_encode_and_decode_agree():
    model, latent = quantizer(), torch.randn(2, 6, 7)
    for n in (1, 2, 4):
        result = model(latent, n)
        assert torch.equal(result.codes, model.encode(latent, n))
        torch.testing.assert_close(result.vectors, model.decode(result.codes), atol=1e-5, rtol=0)
        semantic = model.semantic.quantizer.decode(result.codes[:, :1])
        torch.testing.assert_close(result.semantic, semantic, atol=1e-5, rtol=0)
        assert result.perplexity.shape == (n,)


@torch.no_grad()
def test_commitment_is_the_mean_over_codebooks():
    model, latent = quantizer(), torch.randn(2, 6, 7)
    distances = []
    for branch, n in ((model.semantic, 1), (model.acoustic, 2)):
        left = branch.proj_in(latent.mT).mT
        for k in range(n):
            codes = branch.encode(latent, k + 1)[:, k]
            left = left - branch.quantizer.codebooks[k].vectors[codes].mT
            distances.append(left.square().mean())
    torch.testing.assert_close(model(latent, 3).commitment, torch.stack(distances).mean())


def test_gradients_pass_and_codebooks_learn():
    model, latent = quantizer().train(), torch.randn(2, 6, 50, requires_grad=True)
    before = model.acoustic.quantizer.codebooks[2].vectors.clone()
    result = model(latent, generator=torch.Generator().manual_seed(0))
    (result.vectors.square().mean() + result.commitment).backward()
    assert latent.grad is not None and latent.grad.abs().sum() > 0
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())
    assert not torch.equal(model.acoustic.quantizer.codebooks[2].vectors, before)


def test_bad_depths_are_refused():
    model, latent = quantizer(), torch.randn(1, 6, 3)
    with pytest.raises(ValueError, match="1 to 4, got 5"):
        model.encode(latent, 5)
    with pytest.raises(ValueError, match="1 to 4, got 0"):
        model.decode(torch.zeros(1, 0, 3, dtype=torch.int64))
    with pytest.raises(ValueError, match="n_semantic must be 1 to 3"):
        SplitQuantizer(CONFIG, n_semantic=4, latent_dim=6)
