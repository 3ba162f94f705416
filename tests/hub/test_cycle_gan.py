"""CycleGAN's official files: the layout rebuilt with plain layers, numbered as published, read back and equal."""

import pytest
import torch
from torch import nn

import nexus
from nexus.hub.load import kind_of
from nexus.models.gan.cycle_gan import CycleGAN


class Block(nn.Module):
    def __init__(self, dim, dropout):
        super().__init__()
        first = [nn.ReflectionPad2d(1), nn.Conv2d(dim, dim, 3), nn.InstanceNorm2d(dim), nn.ReLU()]
        second = [nn.ReflectionPad2d(1), nn.Conv2d(dim, dim, 3), nn.InstanceNorm2d(dim)]
        self.conv_block = nn.Sequential(*first, *([nn.Dropout(0.5)] if dropout else []), *second)

    def forward(self, x):
        return x + self.conv_block(x)


class Published(nn.Module):
    """The published generator as a row of layers."""

    def __init__(self, dim=4, n_blocks=3, channels=3, dropout=False):
        super().__init__()
        layers = [nn.ReflectionPad2d(3), nn.Conv2d(channels, dim, 7), nn.InstanceNorm2d(dim), nn.ReLU()]
        for n in (dim, 2 * dim):
            layers += [nn.Conv2d(n, 2 * n, 3, 2, 1), nn.InstanceNorm2d(2 * n), nn.ReLU()]
        layers += [Block(4 * dim, dropout) for _ in range(n_blocks)]
        for n in (4 * dim, 2 * dim):
            up = nn.ConvTranspose2d(n, n // 2, 3, 2, 1, output_padding=1)
            layers += [up, nn.InstanceNorm2d(n // 2), nn.ReLU()]
        self.model = nn.Sequential(*layers, nn.ReflectionPad2d(3), nn.Conv2d(dim, channels, 7), nn.Tanh())
        for parameter in self.parameters():
            nn.init.normal_(parameter, std=0.2)

    def forward(self, x):
        return self.model(x)


def assert_equal(ours, theirs, way):
    x = torch.randn(2, 3, 22, 17)
    with torch.no_grad():
        wanted, made = theirs.eval()(x), ours(x, way)
    assert wanted.std() > 1e-2
    torch.testing.assert_close(made, wanted, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("n_blocks", "dropout"), [(3, False), (2, True)])
def test_a_released_file(n_blocks, dropout, tmp_path):
    torch.manual_seed(0)
    theirs = Published(n_blocks=n_blocks, dropout=dropout)
    state = theirs.state_dict()
    for name in ("running_mean", "running_var"):  # as files older than torch 0.4 have it
        state[f"model.2.{name}"] = torch.ones(4)
    state["model.2.num_batches_tracked"] = torch.tensor(3)
    torch.save(state, tmp_path / "latest_net_G.pth")
    for source in (tmp_path, tmp_path / "latest_net_G.pth"):
        assert kind_of(source) == "CycleGAN"
        model = nexus.load(source, device="cpu")
        assert isinstance(model, CycleGAN) and model.config.ways == ("to_b",)
        assert_equal(model, theirs, "to_b")
    picture = nexus.Image.from_tensor(torch.rand(3, 22, 17) * 2 - 1)
    made = model.generate(picture)
    assert (made.height, made.width) == (22, 17)
    with pytest.raises(ValueError, match="way must be to_b, got 'to_a'"):
        model.generate(picture, way="to_a")


def test_a_training_run_goes_both_ways(tmp_path):
    torch.manual_seed(1)
    there, back, old = (Published() for _ in range(3))
    torch.save(old.state_dict(), tmp_path / "5_net_G_A.pth")
    torch.save(old.state_dict(), tmp_path / "5_net_G_B.pth")
    torch.save(there.state_dict(), tmp_path / "10_net_G_A.pth")
    torch.save(back.state_dict(), tmp_path / "10_net_G_B.pth")
    torch.save({"model.0.weight": torch.ones(1)}, tmp_path / "10_net_D_A.pth")
    model = nexus.load(tmp_path, device="cpu")
    assert_equal(model, there, "to_b")
    assert_equal(model, back, "to_a")


def test_other_networks_are_refused(tmp_path):
    path = tmp_path / "latest_net_G.pth"
    torch.save({"model.model.0.weight": torch.ones(4, 3, 4, 4)}, path)
    with pytest.raises(ValueError, match="expected the residual generator of CycleGAN"):
        nexus.load(path)
    state = Published().state_dict()
    torch.save(state | {"model.2.weight": torch.ones(4)}, path)
    with pytest.raises(ValueError, match="has batch norm"):
        nexus.load(path)
    state.pop("model.11.conv_block.5.bias")
    torch.save(state, path)
    with pytest.raises(ValueError, match=r"1 missing: blocks\.1\.conv2\.bias"):
        nexus.load(path)


@pytest.mark.slow
def test_the_published_width(tmp_path):
    torch.manual_seed(2)
    theirs = Published(dim=64, n_blocks=9)
    assert {"model.26.weight", "model.18.conv_block.5.bias", "model.22.weight"} <= set(theirs.state_dict())
    torch.save(theirs.state_dict(), tmp_path / "latest_net_G.pth")
    model = nexus.load(tmp_path, device="cpu")
    assert sum(p.numel() for p in model.parameters()) == 11_378_179
    assert_equal(model, theirs, "to_b")
