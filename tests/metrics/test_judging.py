import math

import numpy as np
import pytest

from nexus.media import Audio
from nexus.metrics.judge import Judge, Measure, MissingJudge, Sample, Verdict
from nexus.metrics.judging import describe_silence, judge_all, present, require_sounds

RATE = 8000


def sound(level):
    return Audio(np.full(100, level, np.float32), RATE)


def sample(level, reference=None):
    return Sample(prompt="a word", made=sound(level), reference=reference)


def peak_judge(needs=()):
    """Cannot judge silence."""
    return Judge(
        name="peak", version="1", rate=16_000, needs=needs, measures=(Measure(name="peak", unit="dB"),),
        values=lambda s: Verdict(values={"peak": s.made.peak or math.nan}, note=f"{s.made.peak:.1f}"),
    )  # fmt: skip


def test_figures_carry_their_cards_and_items_their_verdicts():
    found = judge_all([sample(0.5), sample(1.0), sample(0.0)], [peak_judge()], seed=3)
    (figure,) = found.figures
    assert figure.value == 0.75 and figure.card.items == 2 and figure.card.seed == 3
    assert figure.card.resampling == "8000 -> 16000 Hz, soxr VHQ"
    assert [v.note for v in found.verdicts] == ["0.5", "1.0", "0.0"] and found.left_out == ()


def test_a_measure_that_could_judge_too_few_is_left_out():
    found = judge_all([sample(0.0), sample(1.0)], [peak_judge()], seed=0)
    assert found.figures == () and "got 1 that could be judged" in found.left_out[0]


def test_references_are_needed_for_all_or_none():
    whole = peak_judge(needs=("reference",))
    assert judge_all([sample(1.0), sample(0.5)], [whole], seed=0).figures == ()
    with pytest.raises(ValueError, match="a reference for every item; 1 of 2 have none"):
        judge_all([sample(1.0, sound(1.0)), sample(0.5)], [whole], seed=0)
    with pytest.raises(ValueError, match="no items"):
        judge_all([], [whole], seed=0)


def test_judges_that_are_not_installed_are_told_apart():
    def missing():
        raise MissingJudge("X wants the package y")

    judges, left_out = present([peak_judge, missing])
    assert [judge.name for judge in judges] == ["peak"] and left_out == ("X wants the package y",)


def test_sounds_that_cannot_be_used_are_counted_and_named(tmp_path):
    (tmp_path / "text.wav").write_text("no sound")
    sound(0.5).save(tmp_path / "good.wav")
    sound(0.0).save(tmp_path / "quiet.wav")
    names = ["good.wav", "quiet.wav", "text.wav", "none.wav"]
    with pytest.raises(ValueError, match=r"3 of 4 sounds cannot be used: quiet\.wav is silent; .*text\.wav.*none\.wav"):
        require_sounds([(name, lambda name=name: Audio.load(tmp_path / name)) for name in names])
    assert describe_silence([sample(0.1), sample(0.0)]) == ("1 of 2 items are silent: 1",)
