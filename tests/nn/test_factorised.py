"""The factorised quantiser: lookup by direction, gradients, dropout, and what is refused."""

import dataclasses
import math

import pytest
import torch

from nexus.nn.factorised import FactorisedConfig, FactorisedQuantizer

CONFIG = FactorisedConfig(dim=6, n_codebooks=3, codebook_size=16, codebook_dim=4)


def quantizer(config: FactorisedConfig = CONFIG) -> FactorisedQuantizer:
    torch.manual_seed(0)
    return FactorisedQuantizer(config)


@torch.no_grad()
def test_direct_computation():
    model, latent = quantizer().eval(), torch.randn(2, 6, 7)
    result = model(latent)
    residual, expected = latent, torch.zeros_like(latent)
    for k, book in enumerate(model.codebooks):
        projected = torch.einsum("ed,bdt->bet", book.proj_in.weight[..., 0], residual)
        for b in range(2):
            for t in range(7):
                cosines = torch.cosine_similarity(projected[b, :, t], book.vectors, dim=-1)
                assert result.codes[b, k, t] == cosines.argmax()
        said = torch.einsum("de,bte->bdt", book.proj_out.weight[..., 0], book.vectors[result.codes[:, k]])
        expected, residual = expected + said, residual - said
    torch.testing.assert_close(result.vectors, expected)
    assert torch.equal(model.encode(latent), result.codes)
    torch.testing.assert_close(model.decode(result.codes), expected)
    assert torch.equal(model.encode(latent, 2), result.codes[:, :2])


def test_length_of_a_code_matters_to_the_output_alone():
    model, latent = quantizer().eval(), torch.randn(1, 6, 9)
    book = model.codebooks[0]
    codes, said = book.encode(latent)
    with torch.no_grad():
        book.vectors.mul_(3)
    longer, louder = book.encode(latent)
    assert torch.equal(longer, codes)
    torch.testing.assert_close(louder, 3 * said)


def test_gradients_pass_straight_through():
    config = dataclasses.replace(CONFIG, n_codebooks=1, dropout=0.0)
    model, latent = quantizer(config), torch.randn(2, 6, 5, requires_grad=True)
    result = model(latent)
    weight = torch.randn_like(result.vectors)
    (gradient,) = torch.autograd.grad((result.vectors * weight).sum(), latent, retain_graph=True)
    book = model.codebooks[0]
    through = book.proj_out.weight[..., 0] @ book.proj_in.weight[..., 0]
    torch.testing.assert_close(gradient, torch.einsum("od,bot->bdt", through, weight))
    # The commitment moves the encoder's side alone, the codebook loss the codes alone.
    assert not torch.autograd.grad(result.commitment, book.vectors, retain_graph=True)[0].any()
    assert not torch.autograd.grad(result.codebook, latent, retain_graph=True)[0].any()
    torch.testing.assert_close(result.commitment, result.codebook)
    assert torch.autograd.grad(result.commitment, latent, retain_graph=True)[0].abs().sum() > 0
    assert torch.autograd.grad(result.codebook, book.vectors)[0].abs().sum() > 0


def test_every_parameter_gets_a_gradient():
    model = quantizer(dataclasses.replace(CONFIG, weight_norm=True))
    result = model(torch.randn(4, 6, 20), generator=torch.Generator().manual_seed(0))
    (result.vectors.square().mean() + result.commitment + result.codebook).backward()
    assert not [n for n, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]


def test_dropout_drops_later_codebooks_of_some_items():
    model, latent = quantizer().train(), torch.randn(64, 6, 3)
    generator = torch.Generator().manual_seed(0)
    depths = model.depths(64, generator)
    assert set(depths.tolist()) == {1, 2, 3}
    # A half keeps all, a third of the other half too.
    assert (depths == 3).float().mean() == pytest.approx(2 / 3, abs=0.15)
    generator.manual_seed(0)
    result = model(latent, generator=generator)
    for item, depth in enumerate(depths.tolist()):
        expected = model.decode(result.codes[item : item + 1, :depth])
        torch.testing.assert_close(result.vectors[item : item + 1], expected)
    assert torch.equal(model.eval()(latent).codes, result.codes)
    generator.manual_seed(0)
    one = model.train()(latent, n_codebooks=1, generator=generator)
    torch.testing.assert_close(one.vectors, model.decode(result.codes[:, :1]))


def test_losses_of_dropped_codebooks_do_not_count():
    config = dataclasses.replace(CONFIG, dropout=1.0)
    model, latent = quantizer(config), torch.randn(1, 6, 5)
    for seed in range(8):
        generator = torch.Generator().manual_seed(seed)
        depth = int(model.depths(1, generator))
        generator.manual_seed(seed)
        result = model(latent, generator=generator)
        expected = model(latent, n_codebooks=depth)
        torch.testing.assert_close(result.codebook, expected.codebook)
        torch.testing.assert_close(result.commitment, expected.commitment)


def test_perplexity_counts_codes_in_use():
    model = quantizer().eval()
    alone = model(torch.ones(2, 6, 4))
    assert alone.perplexity[0] == 1
    result = model(torch.randn(4, 6, 64))
    shares = torch.bincount(result.codes[:, 1].flatten(), minlength=16) / 256
    expected = math.exp(-sum(p * math.log(p) for p in shares.tolist() if p))
    assert result.perplexity[1].item() == pytest.approx(expected, rel=1e-4)


def test_wrong_input_is_refused():
    model = quantizer().eval()
    with pytest.raises(ValueError, match="n_codebooks must be 1 to 3, got 4"):
        model.encode(torch.randn(1, 6, 2), 4)
    with pytest.raises(ValueError, match="n_codebooks must be 1 to 3, got 0"):
        model.decode(torch.zeros(1, 0, 2, dtype=torch.int64))
    with pytest.raises(ValueError, match="codes must be 0 to 15, got -1 to 16"):
        model.decode(torch.tensor([[[16, -1]]]))
    with pytest.raises(ValueError, match="share"):
        dataclasses.replace(CONFIG, dropout=1.5)
    with pytest.raises(ValueError, match="positive"):
        dataclasses.replace(CONFIG, codebook_dim=0)
