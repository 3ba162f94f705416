"""k-means by mini-batches: against scikit-learn from the same centres, on blobs, and at the edges."""

import pytest
import torch

from nexus.nn.k_means import Reservoir, far_apart, mini_batch_k_means, squared_distance
from nexus.nn.quantize import nearest


def blobs(n=12, rows=40, dim=6, spread=0.05):
    generator = torch.Generator().manual_seed(3)
    centres = torch.randn(n, dim, generator=generator)
    x = centres.repeat_interleave(rows, 0) + spread * torch.randn(n * rows, dim, generator=generator)
    return centres, x[torch.randperm(len(x), generator=generator)]


@pytest.mark.parametrize("batch_size", [37, 100, 10_000])
def test_blobs_are_found(rng, batch_size):
    centres, x = blobs()
    found = mini_batch_k_means(x, 12, rng, batch_size=batch_size)
    assert len(nearest(centres, found.centres).unique()) == 12
    assert torch.cdist(centres, found.centres).min(1).values.max() < 0.05
    assert found.distance == pytest.approx(squared_distance(x, found.centres).mean().item())
    assert found.distance < 1.1 * 6 * 0.05**2 and found.passes < 20


def test_assignments_are_scikit_learns_from_the_same_centres(rng):
    cluster = pytest.importorskip("sklearn.cluster")
    x = torch.randn(3000, 16, generator=rng)
    found = mini_batch_k_means(x, 50, rng, batch_size=500)
    theirs = cluster.KMeans(50, init=found.centres.numpy(), n_init=1, max_iter=1).fit(x.numpy())
    theirs.cluster_centers_ = found.centres.numpy()
    codes = torch.from_numpy(theirs.predict(x.numpy())).long()
    assert torch.equal(nearest(x, found.centres), codes) and len(codes.unique()) == 50
    mini = cluster.MiniBatchKMeans(50, batch_size=500, n_init=1, random_state=0, max_iter=100).fit(x.numpy())
    assert found.distance < 1.02 * mini.inertia_ / len(x)


def test_centres_start_far_apart(rng):
    centres, x = blobs(n=8)
    wins = sum(len(nearest(far_apart(x, 8, rng), centres).unique()) for _ in range(20))
    random = sum(len(nearest(x[torch.randperm(len(x), generator=rng)[:8]], centres).unique()) for _ in range(20))
    assert wins > 7.5 * 20 > random  # of 8 blobs each time


def test_a_start_draws_in_proportion_to_squared_distances():
    """Rows at 0, 1 and 3, and 0 first: 1 and 9 in ten."""
    x, counts = torch.tensor([[0.0], [1.0], [3.0]]), torch.zeros(3)
    for seed in range(3000):
        first, second = far_apart(x, 2, torch.Generator().manual_seed(seed))
        if first == 0:
            counts[(x == second).nonzero()[0, 0]] += 1
    assert counts[0] == 0 and counts[2] / counts.sum() == pytest.approx(0.9, abs=0.03)


def test_rows_that_are_all_the_same(rng):
    found = mini_batch_k_means(torch.ones(10, 3), 4, rng)
    assert torch.equal(found.centres, torch.ones(4, 3)) and found.distance == 0


def test_as_many_centres_as_rows(rng):
    x = torch.randn(9, 4, generator=rng)
    found = mini_batch_k_means(x, 9, rng)
    assert found.distance < 1e-9 and len(nearest(x, found.centres).unique()) == 9
    with pytest.raises(ValueError, match="10 centres need at least as many rows, got 9"):
        mini_batch_k_means(x, 10, rng)


def test_the_same_generator_gives_the_same_centres():
    _, x = blobs()
    first, second, other = (mini_batch_k_means(x, 5, torch.Generator().manual_seed(s)).centres for s in (1, 1, 2))
    assert torch.equal(first, second) and not torch.equal(first, other)


def test_a_reservoir_is_a_fair_draw():
    counts = torch.zeros(60)
    for seed in range(300):
        reservoir = Reservoir(12, torch.Generator().manual_seed(seed))
        for part in torch.arange(60.0)[:, None].split(7):
            reservoir.add(part)
        assert reservoir.rows.shape == (12, 1) and reservoir.seen == 60 and len(reservoir.rows.unique()) == 12
        counts[reservoir.rows[:, 0].long()] += 1
    assert (counts - 60).abs().max() < 4 * (300 * 0.2 * 0.8) ** 0.5


def test_a_reservoir_of_few_rows():
    reservoir = Reservoir(100, torch.Generator().manual_seed(0))
    with pytest.raises(ValueError, match="no rows"):
        _ = reservoir.rows
    reservoir.add(torch.ones(3, 2))
    assert torch.equal(reservoir.rows, torch.ones(3, 2))
