"""Guidance: the convention, its fixed points, and the batched form."""

import torch

from nexus.process.guidance import extrapolate, guided, guided_halves


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
