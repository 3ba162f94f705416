"""The pool: fills, exchanges half, keeps its size, remembers across a checkpoint."""

import pytest
import torch

from nexus.process.image_pool import ImagePool


def numbered(start, count):
    return torch.arange(start, start + count).float().view(-1, 1, 1, 1)


def test_it_fills_then_exchanges_half(rng):
    pool = ImagePool(50, (1, 1, 1))
    first = numbered(0, 50)
    assert torch.equal(pool(first, rng), first) and torch.equal(pool.images, first)
    given, returned = numbered(50, 4000), []
    for batch in given.split(8):
        returned.append(pool(batch, rng))
    out = torch.cat(returned)
    kept = (out == given).flatten()
    assert kept.float().mean().item() == pytest.approx(0.5, abs=0.03)
    older = out.flatten()[~kept]
    assert (older < given.flatten()[~kept]).all()
    # Every picture leaves at most once: what went in comes out or stays.
    everything = torch.cat([out.flatten(), pool.images.flatten()])
    assert torch.equal(everything.sort().values, torch.arange(4050.0))


def test_ages_are_geometric(rng):
    """Each exchange hits one of N places: a picture stays N exchanges, so 2 N pictures, in the mean."""
    pool, n = ImagePool(20, (1, 1, 1)), 12000
    given = numbered(0, n)
    out = torch.cat([pool(batch, rng) for batch in given.split(16)])
    ages = (given - out).flatten()[2000:]
    assert ages[ages > 0].mean().item() == pytest.approx(40, rel=0.1)


def test_no_gradient_and_no_alias(rng):
    pool = ImagePool(2, (1, 2, 2))
    fakes = torch.rand(2, 1, 2, 2, requires_grad=True)
    out = pool(fakes, rng)
    assert not out.requires_grad
    with torch.no_grad():
        fakes.zero_()
    assert pool.images.sum() > 0 and out.sum() > 0


def test_it_is_saved(rng):
    pool, again = ImagePool(4, (1, 1, 1)), ImagePool(4, (1, 1, 1))
    pool(numbered(1, 3), rng)
    again.load_state_dict(pool.state_dict())
    assert again.filled == 3 and torch.equal(again.images, pool.images)
    with pytest.raises(ValueError, match="at least 1 picture"):
        ImagePool(0, (1, 1, 1))
