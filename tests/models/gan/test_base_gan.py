"""DCGAN and its kin: shapes, spectral norm, formulas of the conditional ones, statistics, saving, learning."""

import pytest
import torch
from torch import nn

import nexus
from nexus.models.gan.base_gan import BaseGAN, BaseGANConfig, Discriminator, DiscriminatorConfig, standing_statistics
from nexus.models.gan.conditional_gan import (
    ConcatenationDiscriminator,
    ConditionalGAN,
    ConditionalGANConfig,
    ProjectionDiscriminator,
)
from nexus.models.gan.point_gan import PointCritic, PointGAN, PointGANConfig
from nexus.models.gan.wgan import WGAN, Critic, CriticConfig, WGANConfig
from nexus.nn.checkpoint import save_folder
from nexus.process.gan import NonSaturating

SMALL = {"channels": 1, "latent_dim": 6, "dims": (8, 4), "start": 3}
JUDGE = {"channels": 1, "size": 12, "dims": (4, 8)}


def redraw(module):
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.3)
    return module


def test_the_paper_makes_64_pixels():
    config = BaseGANConfig()
    assert config.size == 64
    with torch.device("meta"):
        model, judge = BaseGAN(config), Discriminator(DiscriminatorConfig())
    assert model(torch.empty(2, 100, device="meta")).shape == (2, 3, 64, 64)
    assert judge(torch.empty(2, 3, 64, 64, device="meta")).shape == (2,)
    convolutions = [layer for layer in model.modules() if isinstance(layer, nn.ConvTranspose2d)]
    assert [layer.out_channels for layer in convolutions] == [1024, 512, 256, 128, 3]


def test_it_generates_item_by_item(tmp_path):
    torch.manual_seed(0)
    config = BaseGANConfig(**SMALL)
    model = redraw(BaseGAN(config)).eval()
    save_folder(model, tmp_path, kind="base-gan", config=config)
    again = nexus.load(tmp_path, device="cpu")
    seen = []
    both = again.generate(2, seed=4, progress=lambda done, total: seen.append((done, total)))
    assert isinstance(again, BaseGAN) and seen == [(2, 2)] and (both[0].height, both[0].width) == (12, 12)
    assert both[1] == model.generate(seed=5)[0] and both[0] != both[1]
    assert len(again.generate(65, seed=0)) == 65
    with pytest.raises(ValueError, match="n must be at least 1"):
        again.generate(0)
    with pytest.raises(ValueError, match="knows no classes"):
        again.generate(1, labels=[3])


def test_spectral_norm_is_the_largest_singular_value():
    torch.manual_seed(0)
    judge = redraw(Discriminator(DiscriminatorConfig(**JUDGE, norm="spectral"))).train()
    for _ in range(200):  # each call is one power iteration
        judge(torch.zeros(1, 1, 12, 12))
    judge.eval()
    layers = [layer for layer in judge.modules() if isinstance(layer, nn.Conv2d)]
    assert len(layers) == 3
    for layer in layers:
        original = layer.parametrizations.weight.original
        sigma = torch.linalg.svdvals(original.flatten(1))[0]
        assert abs(sigma - 1) > 0.1
        torch.testing.assert_close(layer.weight, original / sigma, rtol=1e-4, atol=1e-5)
    critic = PointCritic(PointGANConfig(dim=8), spectral=True)
    for _ in range(100):
        critic(torch.zeros(1, 2))
    points = torch.randn(2, 500, 2)
    slopes = (critic(points[0]) - critic(points[1])).abs() / (points[0] - points[1]).norm(dim=1)
    assert slopes.max() <= 1 + 1e-3  # layers of slope 1 make a network of slope 1


@pytest.mark.parametrize("norm", ["batch", "layer", "spectral", "none"])
def test_every_parameter_is_taught(norm, rng):
    judge = redraw(Discriminator(DiscriminatorConfig(**JUDGE, norm=norm)))
    model = redraw(BaseGAN(BaseGANConfig(**SMALL)))
    real = torch.rand(4, 1, 12, 12)
    NonSaturating().judge(judge, real, model.fakes(torch.zeros(4).long(), rng), rng)["loss"].backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in [*judge.parameters(), *model.parameters()])


@pytest.mark.parametrize("norm", ["layer", "spectral", "none"])
def test_only_batch_norm_lets_pictures_see_one_another(norm):
    x = torch.rand(3, 1, 12, 12)
    alone = redraw(Critic(CriticConfig(**JUDGE, norm=norm))).eval()
    torch.testing.assert_close(alone(x)[:1], alone(x[:1]))
    batch = redraw(Discriminator(DiscriminatorConfig(**JUDGE)))
    assert not torch.allclose(batch(x)[:1], batch(x[:2])[:1], atol=1e-4)
    with pytest.raises(ValueError, match="a critic's norm is layer, spectral or none"):
        CriticConfig(**JUDGE, norm="batch")


def test_the_projection_discriminator():
    """psi(phi(x)) + <v_y, phi(x)>: with v_y = 0 the class says nothing; two classes differ by <v_1 - v_2, phi>."""
    torch.manual_seed(0)
    judge = redraw(ProjectionDiscriminator(DiscriminatorConfig(**JUDGE, norm="none", n_classes=3)))
    x = torch.rand(2, 1, 12, 12)
    phi = judge.layers(x).sum((2, 3))
    zero, one = (judge(x, torch.full((2,), y)) for y in (0, 1))
    torch.testing.assert_close(one - zero, phi @ (judge.classes.weight[1] - judge.classes.weight[0]))
    assert (one - zero).abs().max() > 1e-2
    nn.init.zeros_(judge.classes.weight)
    unconditional = phi @ judge.out.weight[0] + judge.out.bias
    torch.testing.assert_close(judge(x, torch.tensor([0, 2])), unconditional)


def test_the_concatenation_discriminator():
    torch.manual_seed(0)
    config = DiscriminatorConfig(**JUDGE, norm="none", n_classes=3)
    judge = redraw(ConcatenationDiscriminator(config))
    assert judge.layers[0].in_channels == 2
    x, label = torch.rand(2, 1, 12, 12), torch.tensor([2, 0])
    assert not torch.allclose(judge(x, label), judge(x, label.flip(0)), atol=1e-3)
    seen = torch.cat([x, judge.planes.weight[label].view(2, 1, 12, 12)], 1)
    torch.testing.assert_close(judge(x, label), judge.out(judge.layers(seen)).flatten())
    with pytest.raises(ValueError, match="set n_classes"):
        ProjectionDiscriminator(DiscriminatorConfig(**JUDGE))


def test_conditional_generation(tmp_path):
    torch.manual_seed(0)
    config = ConditionalGANConfig(**SMALL, n_classes=3, class_dim=5)
    model = redraw(ConditionalGAN(config)).eval()
    save_folder(model, tmp_path, kind="conditional-gan", config=config)
    again = nexus.load(tmp_path, device="cpu")
    a, b = again.generate(2, labels=[2, 2], seed=0)
    assert again.generate(labels=[2], seed=1)[0] == b and again.generate(labels=[0], seed=1)[0] != b and a != b
    for wrong in (None, [3, 0], [1]):
        with pytest.raises(ValueError, match="labels must be 2 numbers from 0 to 2"):
            again.generate(2, labels=wrong)


def test_wgan_and_points_are_loaded(tmp_path):
    torch.manual_seed(0)
    config = WGANConfig(**SMALL)
    save_folder(WGAN(config), tmp_path / "wgan", kind="wgan", config=config)
    assert isinstance(nexus.load(tmp_path / "wgan", device="cpu"), WGAN)
    points = PointGAN(PointGANConfig(dim=8))
    save_folder(points, tmp_path / "points", kind="point-gan", config=points.config)
    made = nexus.load(tmp_path / "points", device="cpu").generate(3, seed=7)
    torch.testing.assert_close(made[1:2], points.generate(seed=8))


def test_standing_statistics_are_those_of_the_weights(rng):
    torch.manual_seed(0)
    model = redraw(BaseGAN(BaseGANConfig(**SMALL))).eval()
    z = torch.randn(1, 6)
    standing_statistics(model, 640, rng)
    assert not model.training and model.layers[1].momentum == 0.1
    once = model(z)
    torch.testing.assert_close(once, model(z))
    standing_statistics(model, 640, rng)  # other codes, nearly the same statistics
    torch.testing.assert_close(once, model(z), atol=0.1, rtol=0)
    model.train()
    many = model.fakes(torch.zeros(500).long(), rng)
    model.eval()
    spread = model.fakes(torch.zeros(500).long(), rng)
    assert spread.std().item() == pytest.approx(many.std().item(), rel=0.1)


def test_a_gan_learns_a_gaussian():
    """A shifted cloud of points: the non-saturating game with R1 finds its mean and spread."""
    torch.manual_seed(0)
    rng = torch.Generator().manual_seed(0)
    model, critic = PointGAN(PointGANConfig(dim=32, n_layers=1)), PointCritic(PointGANConfig(dim=32, n_layers=2))
    game = NonSaturating(r1_weight=0.1)
    teach, judge = (torch.optim.Adam(net.parameters(), 5e-3, betas=(0.0, 0.9)) for net in (model, critic))
    for _ in range(300):
        real = torch.tensor([2.0, -1.0]) + 0.5 * torch.randn(128, 2, generator=rng)
        fake = model(torch.randn(128, 2, generator=rng))
        judge.zero_grad()
        game.judge(critic, real, fake.detach(), rng)["loss"].backward()
        judge.step()
        teach.zero_grad()
        game.deceive(critic, fake).backward()
        teach.step()
    made = model.generate(500, seed=0)
    torch.testing.assert_close(made.mean(0), torch.tensor([2.0, -1.0]), atol=0.3, rtol=0)
    assert made.std(0).min() > 0.2 and made.std(0).max() < 1.0


def test_wrong_sizes_are_refused():
    with pytest.raises(ValueError, match="must be a multiple of 4"):
        DiscriminatorConfig(channels=1, size=10, dims=(4, 8))
    with pytest.raises(ValueError, match="must be at least 1"):
        BaseGANConfig(dims=())
