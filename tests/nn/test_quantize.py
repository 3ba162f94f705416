"""Residual quantisation against brute force, and the moving averages against a case worked by hand."""

import dataclasses

import pytest
import torch

from nexus.nn.quantize import Codebook, QuantizerConfig, ResidualQuantizer, k_means, n_used, nearest

CONFIG = QuantizerConfig(n_codebooks=3, codebook_size=7, dim=4, k_means_steps=3)


def test_nearest_is_the_brute_force_minimum():
    x, codebook = torch.randn(50, 5), torch.randn(9, 5)
    assert torch.equal(nearest(x, codebook), torch.cdist(x, codebook).argmin(-1))


def test_codes_that_were_left_out_are_not_in_use():
    codes = torch.tensor([[[1, 1, 2], [0, -1, -1]], [[2, 3, 1], [-1, -1, -1]]])
    assert n_used(codes) == (3 + 1) / 2


def test_codes_follow_the_residuals():
    torch.manual_seed(0)
    quantizer, latent = ResidualQuantizer(CONFIG).eval(), torch.randn(2, 4, 5)
    codes = quantizer.encode(latent)
    for b in range(2):
        for t in range(5):
            residual = latent[b, :, t]
            for k, codebook in enumerate(quantizer.codebooks):
                distances = [(residual - vector).square().sum().item() for vector in codebook.vectors]
                assert codes[b, k, t] == distances.index(min(distances))
                residual = residual - codebook.vectors[codes[b, k, t]]
    assert len(codes.unique()) > 3
    result = quantizer(latent)
    assert torch.equal(result.codes, codes)
    torch.testing.assert_close(result.vectors, quantizer.decode(codes))
    assert torch.equal(quantizer.encode(latent, 2), codes[:, :2])


def test_gradients_pass_straight_through_and_commitment_pulls_to_the_codes():
    quantizer, latent = ResidualQuantizer(CONFIG).eval(), torch.randn(1, 4, 6, requires_grad=True)
    (gradient,) = torch.autograd.grad((quantizer(latent).vectors * 3).sum(), latent)
    assert torch.equal(gradient, torch.full_like(gradient, 3))
    one = ResidualQuantizer(dataclasses.replace(CONFIG, n_codebooks=1)).eval()
    result = one(latent)
    (gradient,) = torch.autograd.grad(result.commitment, latent)
    torch.testing.assert_close(gradient, 2 * (latent - result.vectors).detach() / latent.numel())


def test_moving_averages_by_hand():
    codebook = Codebook(QuantizerConfig(n_codebooks=1, codebook_size=2, dim=1, decay=0.5, dead_below=0.0))
    codebook.vectors.copy_(torch.tensor([[0.0], [10.0]]))
    codebook.usage.copy_(torch.tensor([2.0, 4.0]))
    codebook.sums.copy_(codebook.vectors * codebook.usage[:, None])
    codebook.update(torch.tensor([[1.0], [2.0], [8.0]]), torch.tensor([0, 0, 1]), None)
    # usage: (2 + 2) / 2, (4 + 1) / 2; sums: (0 + 3) / 2, (40 + 8) / 2
    assert codebook.usage.tolist() == [2.0, 2.5]
    assert codebook.sums.flatten().tolist() == [1.5, 24.0]
    torch.testing.assert_close(codebook.vectors.flatten(), torch.tensor([0.75, 9.6]))


def test_dead_codes_are_drawn_anew_from_the_batch():
    codebook = Codebook(QuantizerConfig(n_codebooks=1, codebook_size=4, dim=2, dead_below=0.1))
    codebook.usage.copy_(torch.tensor([1.0, 1.0, 1.0, 0.0]))
    rows = torch.full((5, 2), 3.0)
    codebook.update(rows, torch.tensor([0, 0, 1, 1, 2]), torch.Generator().manual_seed(0))
    torch.testing.assert_close(codebook.vectors[3], torch.tensor([3.0, 3.0]))
    assert codebook.usage[3] > 0.5


def test_training_starts_from_k_means_and_learns_clusters():
    generator = torch.Generator().manual_seed(0)
    centres = 5 * torch.randn(7, 4, generator=generator)
    quantizer = ResidualQuantizer(dataclasses.replace(CONFIG, n_codebooks=1, decay=0.8)).train()
    errors = []
    for _ in range(40):
        rows = centres[torch.randint(7, (60,), generator=generator)] + 0.1 * torch.randn(60, 4, generator=generator)
        errors.append(quantizer(rows.mT[None], generator=generator).commitment.item())
    assert quantizer.codebooks[0].initialised.item() == 1
    assert errors[-1] < 0.05
    assert quantizer(rows.mT[None]).perplexity.item() > 5


def test_evaluation_leaves_codebooks_alone():
    quantizer = ResidualQuantizer(CONFIG).eval()
    before = {name: value.clone() for name, value in quantizer.state_dict().items()}
    quantizer(torch.randn(1, 4, 9))
    assert all(torch.equal(value, before[name]) for name, value in quantizer.state_dict().items())


def test_k_means_finds_separate_clusters():
    x = torch.tensor([[0.0], [0.1], [9.9], [10.0]])
    centres = k_means(x, 2, 10, torch.Generator().manual_seed(1)).flatten().sort().values
    torch.testing.assert_close(centres, torch.tensor([0.05, 9.95]))


def test_bad_input_is_refused():
    quantizer = ResidualQuantizer(CONFIG)
    with pytest.raises(ValueError, match="1 to 3, got 4"):
        quantizer.encode(torch.randn(1, 4, 2), 4)
    with pytest.raises(ValueError, match="0 to 6"):
        quantizer.decode(torch.full((1, 3, 2), 7))
    with pytest.raises(ValueError, match="positive"):
        QuantizerConfig(n_codebooks=0)


def test_each_item_may_have_its_own_depth():
    """Structured dropout: an item gets what it would get alone, and codebooks it does without don't see it."""
    torch.manual_seed(0)
    quantizer, latent = ResidualQuantizer(CONFIG).eval(), torch.randn(3, 4, 5)
    result = quantizer(latent, torch.tensor([2, 3, 1]))
    for item, depth in enumerate((2, 3, 1)):
        alone = quantizer(latent[item : item + 1], depth)
        torch.testing.assert_close(result.vectors[item : item + 1], alone.vectors)
        assert torch.equal(result.codes[item : item + 1, :depth], alone.codes)
        assert (result.codes[item, depth:] == -1).all()
    quantizer.train()
    for codebook in quantizer.codebooks:
        codebook.initialised.fill_(1)
    before = [codebook.sums.clone() for codebook in quantizer.codebooks]
    result = quantizer(latent, torch.tensor([2, 2, 1]))
    assert result.codes.shape[1] == 2
    moved = [not torch.equal(a, codebook.sums) for a, codebook in zip(before, quantizer.codebooks, strict=True)]
    assert moved == [True, True, False]
    torch.testing.assert_close(quantizer.codebooks[1].usage.sum(), torch.tensor(7 * 0.99 + 10 * 0.01))
    with pytest.raises(ValueError, match="at least one codebook"):
        quantizer(latent, torch.tensor([1, 0, 1]))


def test_own_depths_pass_gradients_straight_through():
    quantizer, latent = ResidualQuantizer(CONFIG).eval(), torch.randn(2, 4, 6, requires_grad=True)
    result = quantizer(latent, torch.tensor([1, 3]))
    (gradient,) = torch.autograd.grad((result.vectors * 3).sum(), latent, retain_graph=True)
    assert torch.equal(gradient, torch.full_like(gradient, 3))
    (gradient,) = torch.autograd.grad(result.commitment, latent)
    assert (gradient.flatten(1).norm(dim=1) > 0).all()
