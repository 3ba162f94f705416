import pytest

from nexus.metrics.recogniser import error_rates, normalise


def test_error_rates_by_hand():
    pytest.importorskip("jiwer")
    rates = error_rates(["The cat sat.", "a dog"], ["the cat sad", "dog!"])
    assert rates.wer == pytest.approx(2 / 5)
    assert rates.cer == pytest.approx((1 + 2) / (11 + 5))
    assert rates.n_items == 2


def test_normalise_keeps_words_only():
    assert normalise("  It’s—well, 3 o'clock! ") == "it's well 3 o'clock"


def test_wrong_counts_are_refused():
    pytest.importorskip("jiwer")
    with pytest.raises(ValueError, match="0 for 1"):
        error_rates(["a"], [])
    with pytest.raises(ValueError, match="reference 0 has no words"):
        error_rates(["..."], ["a"])
