"""CycleGAN: losses by hand, receptive field of the judge, learning, what it refuses."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import nexus
from nexus.models.gan.cycle_gan import CycleGAN, CycleGANConfig, PatchGAN
from nexus.nn.checkpoint import save_folder
from nexus.process.image_pool import ImagePool

TINY = CycleGANConfig(dim=4, n_blocks=1)


@pytest.fixture
def game():
    torch.manual_seed(0)
    model = CycleGAN(TINY)
    judges = nn.ModuleDict({"to_b": PatchGAN(dim=4, n_halvings=1), "to_a": PatchGAN(dim=4, n_halvings=1)})
    for parameter in [*model.parameters(), *judges.parameters()]:
        nn.init.normal_(parameter, std=0.2)
    a, b = (torch.rand(2, 2, 3, 16, 20) * 2 - 1).unbind()
    return model, judges, {"a": a, "b": b}


def test_the_generators_loss(game):
    model, judges, batch = game
    a, b = batch["a"], batch["b"]
    fake_b, fake_a = model.to_b(a), model.to_a(b)
    deceit = (judges["to_b"](fake_b) - 1).square().mean() + (judges["to_a"](fake_a) - 1).square().mean()
    cycle = F.l1_loss(model.to_a(fake_b), a) + F.l1_loss(model.to_b(fake_a), b)
    identity = F.l1_loss(model.to_b(b), b) + F.l1_loss(model.to_a(a), a)
    losses = model.loss(batch, judges)
    torch.testing.assert_close(losses["loss"], deceit + 10 * cycle + 5 * identity)
    losses["loss"].backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for n, p in model.named_parameters() if "conv_out" in n)


def test_the_judges_loss_uses_the_pool(game, rng):
    model, judges, batch = game
    pools = nn.ModuleDict({way: ImagePool(2, (3, 16, 20)) for way in ("to_b", "to_a")})
    fake_b, fake_a = model.to_b(batch["a"]), model.to_a(batch["b"])
    wanted = 0
    for judge, real, fake in ((judges["to_b"], batch["b"], fake_b), (judges["to_a"], batch["a"], fake_a)):
        wanted = wanted + ((judge(real) - 1).square().mean() + judge(fake.detach()).square().mean()) / 2
    losses = model.judges_loss(batch, judges, pools, rng)
    torch.testing.assert_close(losses["loss"], wanted)
    losses["loss"].backward()
    assert all(p.grad is None for p in model.parameters())
    torch.testing.assert_close(pools["to_b"].images, fake_b.detach())


@pytest.mark.parametrize(("n_halvings", "side"), [(3, 70), (2, 34), (1, 16)])
def test_a_logit_sees_a_patch(n_halvings, side):
    judge = PatchGAN(1, 2, n_halvings)
    for parameter in judge.parameters():
        nn.init.constant_(parameter, 0.1)  # all positive, so that nothing is cancelled; norms are left out below
    x = torch.rand(1, 1, 128, 128, requires_grad=True)
    hidden = x
    for conv in judge.layers:
        hidden = conv(hidden)
    logits = judge.out(hidden)
    (gradient,) = torch.autograd.grad(logits[0, 0, logits.shape[2] // 2, logits.shape[3] // 2], x)
    rows = gradient[0, 0].abs().sum(1).nonzero().flatten()
    assert rows.max() - rows.min() + 1 == side
    assert judge(x).shape == logits.shape


def test_it_learns_to_brighten():
    """Domain b is a, brighter: after some steps the way there brightens and the way back darkens."""
    torch.manual_seed(0)
    model = CycleGAN(TINY)
    judges = nn.ModuleDict({"to_b": PatchGAN(dim=8, n_halvings=1), "to_a": PatchGAN(dim=8, n_halvings=1)})
    pools = nn.ModuleDict({way: ImagePool(16, (3, 12, 12)) for way in ("to_b", "to_a")})
    rng = torch.Generator().manual_seed(0)
    teach = torch.optim.Adam(model.parameters(), 4e-3, betas=(0.5, 0.9))
    judge = torch.optim.Adam(judges.parameters(), 4e-3, betas=(0.5, 0.9))

    def batch():
        x = torch.rand(2, 4, 3, 12, 12, generator=rng) * 0.6
        return {"a": x[0] - 0.8, "b": x[1] + 0.2}

    for _ in range(40):
        sample = batch()
        judge.zero_grad()
        model.judges_loss(sample, judges, pools, rng)["loss"].backward()
        judge.step()
        teach.zero_grad()
        model.loss(sample, judges)["loss"].backward()
        teach.step()
    sample = batch()
    with torch.no_grad():
        assert model(sample["a"], "to_b").mean() > 0.2 and model(sample["b"], "to_a").mean() < -0.2


def test_it_is_loaded_and_generates(tmp_path):
    torch.manual_seed(0)
    model = CycleGAN(TINY).eval()
    save_folder(model, tmp_path, kind="cycle-gan", config=TINY)
    again = nexus.load(tmp_path, device="cpu")
    pictures = [nexus.Image.from_tensor(torch.rand(3, *size) * 2 - 1) for size in ((16, 20), (9, 13))]
    made = again.generate(pictures, way="to_a")
    assert [(m.height, m.width) for m in made] == [(16, 20), (9, 13)]
    assert made[0] == model.generate(pictures[0], way="to_a") and made[0] != pictures[0]
    with pytest.raises(ValueError, match="at least 8 pixels"):
        again.generate(nexus.Image.from_tensor(torch.zeros(3, 7, 20)))
    with pytest.raises(ValueError, match="ways are to_b, to_a or both"):
        CycleGANConfig(ways=())
