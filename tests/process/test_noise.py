import pytest
import torch

from nexus.process.noise import candidate_seeds, gaussian, generators, uniform


def test_item_i_equals_the_item_alone():
    batch = gaussian((3, 5), generators(7, 4))
    assert batch.shape == (4, 3, 5) and 0.5 < batch.std() < 1.5
    torch.testing.assert_close(batch[2], gaussian((3, 5), generators(9, 1))[0], rtol=0, atol=0)
    assert (batch[0] != batch[1]).all()


def test_no_seed_is_a_fresh_one_and_the_global_generator_is_left_alone():
    state = torch.get_rng_state()
    first, second = uniform((8,), generators(None, 1)), uniform((8,), generators(None, 1))
    assert (first != second).any() and first.min() >= 0 and first.max() < 1
    assert torch.equal(state, torch.get_rng_state())


def test_seeds_of_ones_own():
    batch = gaussian((5,), generators([9, 2], 2))
    torch.testing.assert_close(batch[0], gaussian((5,), generators(9, 1))[0], rtol=0, atol=0)
    torch.testing.assert_close(batch[1], gaussian((5,), generators(2, 1))[0], rtol=0, atol=0)
    with pytest.raises(ValueError, match="one for each of 3 items, got 2"):
        generators([9, 2], 3)


def test_the_first_candidate_is_the_item_alone_and_no_two_are_alike():
    seeds = candidate_seeds(7, 3, 4)
    assert seeds[::4] == [7, 8, 9]
    assert len({tuple(gaussian((5,), generators([seed], 1))[0].tolist()) for seed in seeds}) == 12
    assert seeds[4:8] == candidate_seeds(8, 1, 4)
    assert candidate_seeds(None, 1, 2) != candidate_seeds(None, 1, 2)
