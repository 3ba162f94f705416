import pytest
import torch

from nexus.process.noise import generators
from nexus.process.sampling import Sampling, keep_top_k, keep_top_p, sample

PROBABILITIES = torch.tensor([0.5, 0.05, 0.3, 0.15])


def test_top_k_and_top_p_keep_the_right_entries():
    logits = PROBABILITIES.log()
    assert keep_top_k(logits, 2).isfinite().tolist() == [True, False, True, False]
    assert keep_top_k(logits, 0).isfinite().all() and keep_top_k(logits, 9).isfinite().all()
    assert keep_top_p(logits, 0.4).isfinite().tolist() == [True, False, False, False]
    assert keep_top_p(logits, 0.79).isfinite().tolist() == [True, False, True, False]
    assert keep_top_p(logits, 0.81).isfinite().tolist() == [True, False, True, True]


def test_draws_follow_the_distribution():
    logits = PROBABILITIES.log().expand(1, 20000, 4)
    drawn = sample(logits, generators(0, 1), Sampling(top_k=0))
    torch.testing.assert_close(drawn[0].bincount() / 20000, PROBABILITIES, atol=0.015, rtol=0)
    cold = sample(logits, generators(0, 1), Sampling(temperature=0.5, top_k=0))[0].bincount() / 20000
    torch.testing.assert_close(cold, PROBABILITIES**2 / (PROBABILITIES**2).sum(), atol=0.015, rtol=0)
    assert set(sample(logits, generators(0, 1), Sampling(top_k=2))[0].tolist()) == {0, 2}
    assert set(sample(logits, generators(0, 1), Sampling(top_k=0, top_p=0.81))[0].tolist()) == {0, 2, 3}


def test_an_item_does_not_depend_on_its_batch():
    logits = torch.randn(3, 4, 50)
    together = sample(logits, generators(7, 3), Sampling(top_k=20))
    assert torch.equal(together[2:], sample(logits[2:], generators(9, 1), Sampling(top_k=20)))


def test_temperature_zero_is_greedy():
    logits = torch.randn(2, 4, 50)
    assert torch.equal(sample(logits, generators(0, 2), Sampling(temperature=0)), logits.argmax(-1))


@pytest.mark.parametrize("setting", [{"temperature": -1}, {"top_k": -1}, {"top_p": 1.1}])
def test_settings_out_of_range_are_refused(setting):
    with pytest.raises(ValueError, match=next(iter(setting))):
        Sampling(**setting)
