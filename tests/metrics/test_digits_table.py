"""The table of the digits: cells, claims and the place in the page."""

import pytest

from nexus.metrics.digits_table import BEGIN, END, Claim, Row, replaced, table, told
from nexus.metrics.evaluate_digits import COVERED, FRECHET, RIGHT, SECONDS
from nexus.metrics.figures import Card, Evaluation, Figure

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


def test_only_the_section_is_replaced():
    page = f"before\n{BEGIN}\nold\n{END}\nafter\n"
    assert replaced(page, "new") == f"before\n{BEGIN}\nnew\n{END}\nafter\n"
    assert replaced(replaced(page, "new"), "old") == page
    with pytest.raises(ValueError, match="needs the lines"):
        replaced("nothing", "new")


def test_rows_trainings_and_claims_name_one_another():
    from nexus.cli.digits_rows import CLAIMS, ROWS, TRAININGS
    from nexus.recipes.find import find_recipe
    from nexus.training.recipe import override

    assert {row.run for row in ROWS} <= set(TRAININGS)
    names = [row.name for row in ROWS]
    assert len(set(names)) == len(names)
    assert {claim.first for claim in CLAIMS} | {claim.second for claim in CLAIMS} <= set(names)
    for recipe, settings in TRAININGS.values():
        override(find_recipe(recipe), settings)
