"""VAE and beta-VAE: the bound by hand and in closed form, warm-up, free bits, capacity, pictures, learning."""

import math

import pytest
import torch
from torch import nn
from torch.distributions import Bernoulli, MultivariateNormal, Normal

import nexus
from nexus.media.image import Image
from nexus.models.vae.beta_vae import BetaVAE, BetaVAEConfig
from nexus.models.vae.networks import CoderConfig
from nexus.models.vae.vae import VAE, VAEConfig
from nexus.nn.checkpoint import save_folder

MLP = CoderConfig(kind="mlp", channels=1, size=(6, 5), dims=(12,), latent_dim=3)
CONV = CoderConfig(kind="conv", channels=3, size=(8, 12), dims=(4, 8), latent_dim=3)


def redrawn(model):
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.3)
    return model


def pictures(coder, n=4):
    return torch.rand(n, *coder.shape) * 2 - 1


@pytest.mark.parametrize("coder", [MLP, CONV], ids=["mlp", "conv"])
@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian"])
def test_the_bound_by_hand(coder, likelihood):
    torch.manual_seed(0)
    model = redrawn(VAE(VAEConfig(coder=coder, likelihood=likelihood, noise=0.4)))
    x = pictures(coder)
    losses = model.loss({"image": x}, torch.Generator().manual_seed(3))
    mean, log_variance = model.encoder(x).chunk(2, 1)
    noise = torch.randn(mean.shape, generator=torch.Generator().manual_seed(3))
    out = model.decoder(mean + (log_variance / 2).exp() * noise)
    if likelihood == "bernoulli":
        likely = Bernoulli(logits=out, validate_args=False).log_prob((x + 1) / 2).sum((1, 2, 3))
    else:
        likely = Normal(out, 0.4).log_prob(x).sum((1, 2, 3))
    kl = (-0.5 * (1 + log_variance - mean.square() - log_variance.exp())).sum(1)
    torch.testing.assert_close(losses["loss"], (kl - likely).mean(), rtol=1e-5, atol=1e-4)
    torch.testing.assert_close(losses["kl"], kl.mean())
    losses["loss"].backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())
    assert model(x).shape == x.shape


class Linear(nn.Module):
    """What an encoder or decoder of a linear Gaussian model computes."""

    def __init__(self, matrix, log_variance=None, shape=None):
        super().__init__()
        self.matrix, self.log_variance, self.shape = matrix, log_variance, shape

    def forward(self, x):
        out = x.flatten(1) @ self.matrix.mT
        if self.log_variance is not None:
            return torch.cat([out, self.log_variance.expand_as(out)], 1)
        return out.unflatten(1, self.shape)


def test_the_bound_closes_on_the_evidence():
    """p(x) = N(0, W W' + s^2) for a linear decoder: ELBO <= bound of K <= log p(x), and equal for many samples."""
    torch.manual_seed(0)
    model, noise = VAE(VAEConfig(coder=MLP, noise=0.6)), 0.6
    weight = torch.randn(30, 3) * 0.5
    precision = torch.eye(3) + weight.mT @ weight / noise**2
    model.decoder = Linear(weight, shape=(1, 6, 5))
    model.encoder = Linear(precision.inverse() @ weight.mT / noise**2, (3 * precision.inverse().diagonal()).log())
    x = pictures(MLP, 3)
    evidence = MultivariateNormal(torch.zeros(30), weight @ weight.mT + noise**2 * torch.eye(30)).log_prob(x.flatten(1))
    rng = torch.Generator().manual_seed(0)

    def bound(k, runs):
        return model.bound(x.repeat(runs, 1, 1, 1), k, rng).unflatten(0, (runs, 3)).mean(0)

    one, ten = bound(1, 2000), bound(10, 500)
    elbo = -model.loss({"image": x.repeat(2000, 1, 1, 1)}, rng)["loss"].detach()
    torch.testing.assert_close(one.mean(), elbo, atol=0.1, rtol=0)
    assert (one + 0.1 < ten).all() and (ten + 0.01 < evidence).all()
    torch.testing.assert_close(bound(500, 20), evidence, atol=0.05, rtol=0)


def test_warm_up_and_free_bits():
    torch.manual_seed(0)
    model = redrawn(VAE(VAEConfig(coder=MLP, warm_up_steps=10, free_nats=0.2))).train()
    x = pictures(MLP)
    per_unit = model.encode(x).kl().mean(0)
    assert (per_unit < 0.2).any() and (per_unit > 0.2).any()
    charged = per_unit.clamp(min=0.2).sum()

    def rate(step):
        losses = model.loss({"image": x, "step": torch.tensor([step])}, torch.Generator().manual_seed(0))
        return losses["loss"] - losses["distortion"]

    torch.testing.assert_close(rate(4), 0.4 * charged, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(rate(99), charged, atol=1e-4, rtol=1e-4)
    model.eval()
    torch.testing.assert_close(rate(0), charged, atol=1e-4, rtol=1e-4)  # validation knows no warm-up


def test_beta_and_capacity():
    kl = torch.tensor([[1.0, 2.0], [3.0, 2.0]])  # 4 nats
    plain = BetaVAE(BetaVAEConfig(coder=MLP, beta=6.0))
    held = BetaVAE(BetaVAEConfig(coder=MLP, beta=6.0, capacity=10.0))
    assert plain.charge(kl, 0.5) == 12 and VAE(VAEConfig(coder=MLP)).charge(kl, 1.0) == 4
    assert held.charge(kl, 0.1) == 6 * 3 and held.charge(kl, 1.0) == 6 * 6
    with pytest.raises(ValueError, match="beta and capacity must not be negative"):
        BetaVAEConfig(beta=-1.0)


@pytest.mark.parametrize("kind", ["vae", "beta-vae"])
def test_it_is_loaded_and_makes_pictures(kind, tmp_path):
    torch.manual_seed(0)
    config = (VAEConfig if kind == "vae" else BetaVAEConfig)(coder=CONV)
    model = redrawn((VAE if kind == "vae" else BetaVAE)(config)).eval()
    save_folder(model, tmp_path, kind=kind, config=config)
    again = nexus.load(tmp_path, device="cpu")
    assert type(again) is type(model)
    first, second = again.generate(2, seed=8)
    assert (first.height, first.width) == (8, 12) and model.generate(seed=9) == [second] and first != second
    with pytest.raises(ValueError, match="n must be at least 1"):
        again.generate(0)


def test_traversals_move_one_unit_a_row():
    torch.manual_seed(0)
    model = redrawn(VAE(VAEConfig(coder=CONV))).eval()
    picture = Image.from_tensor(pictures(CONV, 1)[0])
    sheet = model.traverse([2, 0], image=picture, reach=3.0, steps=5).tensor()
    assert sheet.shape == (3, 2 * 8 + 1, 5 * 12 + 4)  # a white pixel between
    code = model.encode(picture.tensor()[None]).mean.detach().clone()
    code[0, 0] = -3.0
    wanted = model.decode(code).clamp(-1, 1)[0].detach()
    torch.testing.assert_close(sheet[:, 9:, :12], wanted, atol=1 / 127, rtol=0)
    assert model.traverse(steps=3).height == 3 * 8 + 2
    with pytest.raises(ValueError, match="units must be numbers from 0 to 2"):
        model.traverse([3])
    with pytest.raises(ValueError, match="must be 12x8 pixels, got 8x8"):
        model.traverse([0], image=picture.resize(8, 8))


@pytest.mark.parametrize("kind", ["mlp", "conv"])
def test_it_learns(kind):
    """Four pictures of noise are told apart and given back in some hundred steps."""
    torch.manual_seed(0)
    coder = CoderConfig(kind=kind, channels=1, size=(8, 8), dims=(32,), latent_dim=4)
    model = VAE(VAEConfig(coder=coder, noise=0.1))
    x, rng = pictures(coder), torch.Generator().manual_seed(0)
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    before = model.bound(x, 1, rng).mean()
    for _ in range(200):
        optimizer.zero_grad()
        model.loss({"image": x}, rng)["loss"].backward()
        optimizer.step()
    assert model.bound(x, 1, rng).mean() > before + 1000
    assert (model(x) - x).square().mean().sqrt() < 0.2
    assert model.loss({"image": x}, rng)["active"] > 0


def test_what_cannot_be():
    with pytest.raises(ValueError, match=r"multiples of 4, got \(10, 12\); nearest is \(8, 12\)"):
        CoderConfig(size=(10, 12), dims=(4, 8))
    with pytest.raises(ValueError, match="noise must be positive"):
        VAEConfig(noise=0.0)
    assert math.isfinite(VAE(VAEConfig(coder=MLP)).loss({"image": pictures(MLP)})["loss"].item())
