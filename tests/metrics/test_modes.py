"""Modes counted on cases made by hand, and the report of a posterior."""

import pytest
import torch

from nexus.data.gaussians import DEVIATION, GaussianGrid, centres
from nexus.metrics.modes import classes_covered, point_modes
from nexus.metrics.posterior import posterior_report
from nexus.process.variational import Posterior


def test_real_points_cover_every_mode():
    batch = GaussianGrid(5000, seed=3)[2]
    modes = point_modes(batch["point"], centres(), DEVIATION)
    assert modes.covered == 25 and modes.good == pytest.approx(1 - torch.tensor(-4.5).exp().item(), abs=0.005)
    away = batch["point"] - centres()[batch["label"]]
    assert away.std().item() == pytest.approx(DEVIATION, rel=0.02) and away.mean().abs() < 0.002
    assert torch.equal(batch["point"], GaussianGrid(5000, seed=3)[2]["point"])
    for other in (GaussianGrid(5000, seed=3)[3], GaussianGrid(5000, seed=4)[2]):
        assert not torch.equal(batch["point"], other["point"])


def test_points_between_modes_are_of_none():
    c = centres()
    points = torch.stack([c[0], c[0] + 2.9 * DEVIATION * torch.tensor([1.0, 0.0]), c[7] + 3.1 * DEVIATION, c[3] + 0.5])
    assert point_modes(points, c, DEVIATION) == (1, 0.5)


def test_classes_count_from_a_fifth_of_their_share():
    classes = torch.tensor([0] * 90 + [1] * 2 + [2] * 1 + [3] * 7)  # of ten, 2 of 100 are enough
    assert classes_covered(classes, 10) == 3


class Half:
    """A code of which the second unit says nothing."""

    def encode(self, x):
        mean = torch.stack([x.mean((1, 2, 3)), torch.zeros(len(x))], 1)
        return Posterior(mean, torch.tensor([-2.0, 0.0]).expand(len(x), 2))


def test_the_report_names_what_collapsed():
    x = torch.linspace(-1, 1, 11).view(-1, 1, 1, 1).expand(-1, 1, 2, 2)
    report = posterior_report(Half(), x)
    assert report.active == (True, False) and report.kl[1] == 0
    assert report.kl[0] == pytest.approx((0.4 + torch.tensor(-2.0).exp().item() - 1 + 2) / 2, abs=1e-5)
    assert str(report) == f"1 of 2 units are active, {report.kl[0]:.1f} nats in all; collapsed: 1"
