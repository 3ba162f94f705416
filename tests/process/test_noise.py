import torch

from nexus.process.noise import gaussian, generators, uniform


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
