import pytest
import torch

from nexus.process.flow_distillation import consistency_levels, distillation_loss, end_of


def test_levels_fall_from_noise_to_data():
    even = consistency_levels(4)
    assert even.tolist() == [1, 0.75, 0.5, 0.25, 0]
    shifted = consistency_levels(4, 3.0)
    assert shifted[0] == 1 and shifted[-1] == 0 and (shifted.diff() < 0).all() and (shifted[1:-1] > even[1:-1]).all()
    with pytest.raises(ValueError, match="at least one level"):
        consistency_levels(0)


def test_the_end_of_data_is_data():
    x = torch.randn(3, 2, 4)
    assert torch.equal(end_of(lambda x, sigma: torch.randn_like(x), x, torch.zeros(3)), x)


def test_a_field_of_straight_paths_is_its_own_student():
    """All data in one point: paths are straight, and every state of one ends there."""
    data, noise = torch.full((5, 3), 0.7), torch.randn(5, 3)
    levels = consistency_levels(6, 2.0)

    def exact(x, sigma):
        return (x - 0.7) / sigma.clamp(min=1e-6)[:, None]

    for index in range(6):
        at = torch.full((5,), index)
        loss = distillation_loss(exact, exact, data, noise, levels, at)
        assert loss.max() < 1e-4
        off = distillation_loss(lambda x, s: 2 * exact(x, s), exact, data, noise, levels, at)
        assert off.min() > 0.01


def test_a_student_learns_the_ends_of_gaussian_paths():
    """Data N(0, 0.5^2): a state's velocity is its multiple, so Euler's steps from each level multiply to its end."""
    torch.manual_seed(0)
    levels = consistency_levels(12)

    def rate(sigma):
        return (sigma - 0.25 * (1 - sigma)) / ((1 - sigma) ** 2 * 0.25 + sigma**2)

    gains = torch.ones(13, requires_grad=True)  # one of each level, all that is to be learnt

    def student(x, sigma):
        return gains[(levels[None] - sigma[:, None]).abs().argmin(1)][:, None] * x

    optimizer = torch.optim.Adam([gains], lr=0.03)
    for step in range(600):
        optimizer.param_groups[0]["lr"] = 0.03 if step < 400 else 0.005
        data, noise, index = 0.5 * torch.randn(128, 1), torch.randn(128, 1), torch.randint(12, (128,))
        loss = distillation_loss(student, lambda x, s: rate(s)[:, None] * x, data, noise, levels, index).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    ends = 1 - levels * gains.detach()
    factors = 1 + levels.diff() * rate(levels[:-1])
    wanted = factors.flip(0).cumprod(0).flip(0)
    assert wanted.min() < 0.6 < 0.95 < wanted.max()
    torch.testing.assert_close(ends[:-1], wanted, atol=0.04, rtol=0)
