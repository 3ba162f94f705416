"""Guidance: the convention, its fixed points, and the batched form."""

import torch

from nexus.process.guidance import classifier_guided, extrapolate, guided, guided_halves
from nexus.process.levels import Level


def cond(x, t):
    return 2 * x + t[:, None]


def null(x, t):
    return x - 1


def test_convention():
    x, t = torch.randn(3, 4), torch.rand(3)
    torch.testing.assert_close(guided(cond, null, 0.0)(x, t), null(x, t))
    torch.testing.assert_close(guided(cond, null, 3.0)(x, t), cond(x, t) + 2 * (cond(x, t) - null(x, t)))
    assert extrapolate(torch.tensor(2.0), torch.tensor(1.0), 1.0) == 2


def test_scale_one_does_not_evaluate_the_null_field():
    def forbidden(x, t):
        raise AssertionError

    x, t = torch.randn(3, 4), torch.rand(3)
    torch.testing.assert_close(guided(cond, forbidden, 1.0)(x, t), cond(x, t))


def test_halves_equal_two_calls():
    def both(x, t):
        n = len(x) // 2
        return torch.cat([cond(x[:n], t[:n]), null(x[n:], t[n:])])

    x, t = torch.randn(3, 4), torch.rand(3)
    torch.testing.assert_close(guided_halves(both, 2.5)(x, t), guided(cond, null, 2.5)(x, t))


def test_classifier_guidance_is_bayes_rule():
    """Two classes, each a Gaussian: with their exact posterior the unconditional estimate becomes the class's own."""
    means, spread, level = torch.tensor([-1.0, 2.0]), 0.7, Level(0.8, 0.6)
    noisy = level.alpha**2 * spread**2 + level.sigma**2  # variance of x given a class

    def of_class(x, kind):
        return means[kind] + level.alpha * spread**2 / noisy * (x - level.alpha * means[kind])

    def posterior(x):
        return torch.softmax(-((x[..., None] - level.alpha * means) ** 2) / (2 * noisy), dim=-1)

    def anyone(x, _):
        weights = posterior(x)
        return weights[..., 0] * of_class(x, 0) + weights[..., 1] * of_class(x, 1)

    x = torch.linspace(-3, 3, 13)[:, None]
    for kind in (0, 1):
        guided = classifier_guided(anyone, lambda x, _, kind=kind: posterior(x)[..., kind].log().sum(1), 1)
        torch.testing.assert_close(guided(x, level), of_class(x, kind), atol=1e-5, rtol=1e-5)
    twice = classifier_guided(anyone, lambda x, _: posterior(x)[..., 1].log().sum(1), 2)
    torch.testing.assert_close(twice(x, level) - anyone(x, level), 2 * (of_class(x, 1) - anyone(x, level)))


def test_each_item_may_have_its_own_scale():
    cond, null, scale = torch.randn(2, 3), torch.randn(2, 3), torch.tensor([[1.0], [3.0]])
    both = extrapolate(cond, null, scale)
    torch.testing.assert_close(both[0], cond[0])
    torch.testing.assert_close(both[1], null[1] + 3 * (cond[1] - null[1]))


def test_rescaling_takes_the_spread_back():
    torch.manual_seed(0)
    field = {0: torch.randn(2, 3, 8, 8), 1: torch.randn(2, 3, 8, 8)}

    def both(x, t):
        return torch.cat([field[0], field[1]])

    x, t = torch.zeros(2, 3, 8, 8), torch.zeros(2)
    plain, half, whole = (guided_halves(both, 5.0, share)(x, t) for share in (0, 0.5, 1))
    spread = field[0].flatten(1).std(1)
    torch.testing.assert_close(whole.flatten(1).std(1), spread)
    torch.testing.assert_close(half, (plain + whole) / 2)
    assert bool((plain.flatten(1).std(1) > 2 * spread).all())
