"""The tables of the digits: cells, claims and the place in the page."""

from dataclasses import replace

import pytest

from nexus.metrics.digits_table import (
    Claim,
    Row,
    codes_table,
    replaced,
    stacked_table,
    table,
    told,
    told_of_several,
    told_of_trainings,
    translation_table,
)
from nexus.metrics.evaluate_digits import COVERED, FRECHET, RIGHT, SECONDS
from nexus.metrics.evaluate_stacked import DIVERGENCE, KINDS, NOVELTY
from nexus.metrics.evaluate_translation import Translated
from nexus.metrics.evaluate_vae import Kept
from nexus.metrics.figures import Card, Evaluation, Figure
from nexus.metrics.posterior import PosteriorReport

CARD = Card(judge="j", version="1", weights="", items=9, resampling="", crop="", seed=0)


def figure(name, value, half=1.0):
    better = "lower" if name == FRECHET else "higher"
    return Figure(name=name, value=value, low=value - half, high=value + half, unit="", better=better, card=CARD)


def evaluation(distance):
    figures = (figure(RIGHT, 91.26), figure(FRECHET, distance), figure(COVERED, 10.0), figure(SECONDS, 0.0123))
    baselines = {"held-out digits": (figure(RIGHT, 99.44),)}
    return Evaluation(
        kind="image", model="m", data="digits", figures=figures, baselines=baselines, items=(), left_out=()
    )


def test_rows():
    row = Row(name="DDPM", run="ddpm", settings={"steps": 50})
    lines = table([(row, 1200, evaluation(3.04))]).splitlines()
    assert len(lines) == 4 and len({line.count("|") for line in lines}) == 1
    assert lines[2] == "| DDPM | 1200 | 50 |  | 91.3 | 3.0 [2.0, 4.0] |  | 10 |  | 12.3 |"
    assert lines[3].startswith("| *held-out digits* |  |  |  | 99.4 |")


def test_claims_are_told_as_they_were_seen():
    claim = Claim(words="A beats B", first="a", second="b")
    figures = {"a": evaluation(3.0), "b": evaluation(9.0)}
    assert told(claim, figures).startswith("- A beats B: reproduced (Fréchet distance 3 against 9; the difference")
    assert "the other way round" in told(Claim(words="", first="b", second="a"), figures)
    assert "not reproduced" in told(claim, {"a": evaluation(3.0), "b": evaluation(3.1)})
    assert told(claim, {"a": evaluation(3.0)}) is None


def test_claims_are_told_over_trainings():
    claim = Claim(words="A beats B", first="a", second="b")
    a, b = (
        {seed: evaluation(value) for seed, value in enumerate(values)} for values in ((3.0, 4.0, 2.0), (9.0, 8.0, 8.5))
    )
    # Differences of -6, -4 and -6.5: their deviation is 1.3229, Student's quantile 4.3027.
    assert told_of_several(claim, {"a": a, "b": b}) == (
        "  - Over 3 trainings: reproduced (3, 4, 2 against 9, 8, 8.5; the mean difference is -5.5 [-8.8, -2.2])."
    )
    assert "the other way round" in told_of_several(Claim(words="", first="b", second="a"), {"a": a, "b": b})
    right = Claim(words="", first="a", second="b", figure=RIGHT)
    assert "not reproduced" in told_of_several(right, {"a": a, "b": b})
    assert told_of_several(claim, {"a": a, "b": {0: b[0]}}) is None and told_of_several(claim, {"a": a}) is None
    assert "Over 2 trainings" in told_of_several(claim, {"a": a, "b": {2: b[0], 1: b[1], 7: b[2]}})


def test_gans_of_stacked_digits_are_told_by_their_trainings():
    def stacked(kinds):
        figures = (figure(KINDS, kinds), figure(DIVERGENCE, 1.204), figure(NOVELTY, 1.5))
        baselines = {"noise": (figure(KINDS, 61.0), figure(DIVERGENCE, 4.0), figure(NOVELTY, 4.47))}
        return replace(evaluation(0.0), figures=figures, baselines=baselines)

    several = {"a": {0: stacked(610.0), 2: stacked(600.0)}, "b": {2: stacked(100.0), 0: stacked(105.0)}}
    lines = stacked_table([(Row(name=name, run=name), several[name]) for name in several]).splitlines()
    assert len({line.count("|") for line in lines}) == 1 and len(lines) == 5
    assert lines[2] == "| a | 0, 2 | 610, 600 | 1.20, 1.20 | 1.50, 1.50 |"
    assert lines[3].startswith("| b | 0, 2 | 105, 100 |") and lines[4] == "| *noise* |  | 61 | 4.00 | 4.47 |"
    # Differences of 505 and 500; Student's quantile of one degree of freedom is 12.706.
    assert told_of_trainings(Claim(words="A beats B", first="a", second="b", figure=KINDS), several) == (
        "- A beats B: reproduced over 2 trainings (kinds covered 610, 600 against 105, 100; "
        "the mean difference is 502 [471, 534])."
    )
    assert told_of_trainings(Claim(words="", first="a", second="c", figure=KINDS), several) is None


def test_what_vaes_keep():
    report = PosteriorReport(kl=(1.25, 0.0, 3.0), active=(True, False, True))
    rows = [(Row(name="VAE", run="v"), 800, Kept(report, -91.26, -90.0, 0.0567))]
    lines = codes_table(rows).splitlines()
    assert lines[2] == "| VAE | 800 | 4.2 | 2 of 3 | -91.3 | -90.0 | 0.057 |"
    assert len({line.count("|") for line in lines}) == 1


def test_translations():
    found = [Translated("day", "night", 0.985, figure(FRECHET, 20.0), figure(FRECHET, 81.0, 2.0), 0.104, 0.09)]
    lines = translation_table(found).splitlines()
    assert lines[2] == "| day to night | 98 % | 20.0 [19.0, 21.0] | 81.0 [79.0, 83.0] | 0.10 | 0.09 |"
    assert len({line.count("|") for line in lines}) == 1


def test_only_the_section_is_replaced():
    page = "".join(
        f"<!-- {of}: made by `nexus eval digits-table` -->\nold\n<!-- {of}: end -->\n"
        for of in ("digits", "stacked digits")
    )
    first, second = (replaced(page, of, "new") for of in ("digits", "stacked digits"))
    assert first.index("new") < first.index("old") and second.index("old") < second.index("new")
    assert replaced(first, "digits", "old") == page
    with pytest.raises(ValueError, match="needs the lines <!-- stacked digits: made"):
        replaced("nothing", "stacked digits", "new")


def test_rows_trainings_and_claims_name_one_another():
    from nexus.cli.digits_rows import CLAIMS, CODES, CYCLE, REPEATED, ROWS, STACKED, STACKED_CLAIMS, TRAININGS
    from nexus.recipes.find import find_recipe
    from nexus.training.recipe import override

    assert {row.run for row in (*ROWS, *STACKED, *CODES)} | {CYCLE} | set(REPEATED) <= set(TRAININGS)
    for rows, claims in ((ROWS, CLAIMS), (STACKED, STACKED_CLAIMS)):
        names = [row.name for row in rows]
        assert len(set(names)) == len(names)
        assert {claim.first for claim in claims} | {claim.second for claim in claims} <= set(names)
    for recipe, settings in TRAININGS.values():
        override(find_recipe(recipe), settings)
