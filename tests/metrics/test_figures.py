import math
from dataclasses import replace

import numpy as np
import pytest

from nexus.media import Audio
from nexus.metrics.figures import Card, Evaluation, Item, compare, figure, from_json, to_json

CARD = Card(judge="a judge", version="1.0", weights="", items=0, resampling="", crop="", seed=0)


def shares(items, **settings):
    return figure("share", items, unit="", better="higher", card=CARD, **settings)


def test_interval_is_that_of_a_mean():
    items = np.random.default_rng(1).normal(3, 2, 400)
    found = shares(items.tolist())
    half = 1.96 * items.std() / 20
    assert found.value == pytest.approx(items.mean())
    assert found.low == pytest.approx(items.mean() - half, abs=0.03)
    assert found.high == pytest.approx(items.mean() + half, abs=0.03)
    assert found == shares(items.tolist()) and found.card.items == 400


def test_weights_make_the_mean_of_all_words():
    found = shares([0.5, 0.0], weights=[2, 8])
    assert found.value == pytest.approx(0.1) and (found.low, found.high) == (0, 0.5)


def test_another_statistic():
    found = shares([1.0, 2.0, 30.0], statistic=lambda x: float(np.median(x)))
    assert found.value == 2 and (found.low, found.high) == (1, 30)


def test_what_could_not_be_judged_does_not_count():
    found = shares([1.0, math.nan, 0.0])
    assert found.value == 0.5 and found.card.items == 2 and len(found.items) == 3


@pytest.mark.parametrize(
    ("items", "settings", "said"),
    [
        ([], {}, "at least 2 items, got 0"),
        ([1.0, math.nan], {}, "got 1 that could be judged"),
        ([1.0, math.inf], {}, "item 1 is infinite"),
        ([1.0, 2.0], {"weights": [1.0]}, "1 for 2"),
        ([1.0, 2.0], {"weights": [1.0, 1.0], "statistic": max}, "no other statistic"),
    ],
)
def test_refused(items, settings, said):
    with pytest.raises(ValueError, match=said):
        shares(items, **settings)


def test_paired_items_are_compared_pair_by_pair():
    rng = np.random.default_rng(0)
    hard = rng.normal(0, 10, 50)
    better = shares((hard + 1 + rng.normal(0, 0.1, 50)).tolist())
    worse = shares(hard.tolist())
    gap = compare(better, worse)
    assert gap.paired and gap.value == pytest.approx(1, abs=0.05)
    assert 0.9 < gap.low < gap.value < gap.high < 1.1 and gap.winner == "first"
    apart = compare(replace(better, items=()), replace(worse, items=()))
    assert not apart.paired and apart.low < -2 and apart.high > 4 and apart.winner is None


def test_lower_may_be_better():
    few, many = (replace(shares(items), better="lower") for items in ([1.0, 1.0, 2.0], [5.0, 6.0, 7.0]))
    assert compare(few, many).winner == "first" and compare(many, few).winner == "second"


def test_cards_that_differ_are_not_compared():
    a = shares([0.0, 1.0])
    b = replace(a, card=replace(a.card, version="2.0", crop="first 10 s"))
    with pytest.raises(ValueError, match=r"differ in version \('1.0' and '2.0'\), crop \('' and 'first 10 s'\)"):
        compare(a, b)
    with pytest.raises(ValueError, match="different figures"):
        compare(a, replace(a, unit="%"))


def test_json_and_back():
    item = Item(prompt="hi", made=Audio.silence(8, 8000), reference=None, values={"share": math.nan}, note="said hi")
    whole = Evaluation(
        kind="speech", model="m", data="valid", figures=(shares([0.0, math.nan, 1.0]),),
        baselines={"the data": (shares([1.0, 1.0], weights=[1, 2]),)}, items=(item,), left_out=("x wants y",),
    )  # fmt: skip
    text = to_json(whole)
    assert '"note": "said hi"' in text and '"share": null' in text
    again = from_json(text)
    assert to_json(replace(again, items=(item,))) == text and again.items == ()
    assert again.baselines == whole.baselines
    with pytest.raises(ValueError, match="not an evaluation"):
        from_json('{"kind": "speech"}')
