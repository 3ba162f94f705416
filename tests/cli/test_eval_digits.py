"""`nexus eval digits-table`: rows that are there are measured once, the page's section alone is rewritten."""

import pytest
from typer.testing import CliRunner

pytest.importorskip("sklearn")

from nexus.cli import digits_rows, digits_sections, eval_digits
from nexus.cli.main import app
from nexus.metrics import evaluate_digits
from nexus.metrics.digits_table import BEGIN, END, SECTIONS, Claim, Row
from nexus.recipes import digits_flow


@pytest.fixture
def runs(tmp_path, monkeypatch):
    """A flow that was never trained, one row more than there are weights, and no features to wait for."""
    place = tmp_path / "runs"
    digits_flow.recipe.export(digits_flow.recipe.build(), place / "digits-flow" / "weights")
    rows = (
        Row(name="one", run="digits-flow", settings={"steps": 1}),
        Row(name="two", run="digits-flow", settings={"steps": 2}, untrained=True),
        Row(name="none", run="digits-lcm"),
    )
    claims = (Claim(words="one beats two", first="one", second="two", figure="MS-SSIM within class"),)
    monkeypatch.setattr(digits_sections, "ROWS", rows)
    monkeypatch.setattr(digits_sections, "CLAIMS", claims)

    def no_features(image, seed):
        raise ValueError("left out")

    monkeypatch.setattr(evaluate_digits, "frechet", no_features)
    evaluate_digits.baselines.cache_clear()
    yield place
    evaluate_digits.baselines.cache_clear()


def test_the_table(runs, tmp_path, monkeypatch):
    page = tmp_path / "results.md"
    begin, end = (mark.format("day and night") for mark in (BEGIN, END))
    old = "".join(f"{BEGIN.format(of)}\nold\n{END.format(of)}\n" for of in SECTIONS)
    page.write_text(f"# Results\n{old}end\n")
    command = ["eval", "digits-table", "--runs", str(runs), "--page", str(page), "--items", "20"]
    first = CliRunner().invoke(app, command)
    assert first.exit_code == 0, first.output
    text = page.read_text()
    assert text.startswith("# Results\n") and text.endswith(f"{begin}\n\n{end}\nend\n") and "old" not in text
    assert "| one |" in text and "| two |" in text and "*held-out digits*" in text and "- one beats two: " in text
    assert (tmp_path / "digits.png").is_file() and "digits-lcm has no weights" in first.output
    assert "stacked-gan-r1 has no weights" in first.output

    def again(*_, **__):
        raise AssertionError("measured twice")

    monkeypatch.setattr(digits_sections, "evaluate_digits", again)
    assert CliRunner().invoke(app, command).exit_code == 0 and page.read_text() == text


def test_a_run_that_was_stopped_is_left_out_and_goes_on(runs, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr("nexus.training.loop.train", lambda recipe, folder: asked.append(folder.name))
    monkeypatch.setattr(digits_rows, "TRAININGS", {"digits-flow": ("digits-flow", [])})
    (runs / "digits-flow/recipe.json").write_text('{"loop": {"steps": 600}}')
    for step, whole in ((600, True), (300, False)):
        (runs / f"digits-flow/checkpoints/step-{step:08d}").mkdir(parents=True)
        assert digits_sections.is_whole(runs / "digits-flow") == whole
        with eval_digits.Watch() as watch:
            eval_digits._train(runs, watch)
        assert asked == ([] if whole else ["digits-flow"])
        (runs / f"digits-flow/checkpoints/step-{step:08d}").rmdir()


def test_what_cannot_be_is_refused_before_work(runs, tmp_path, monkeypatch):
    monkeypatch.setattr(digits_sections, "sections", lambda *_: pytest.fail("work was started"))
    page = tmp_path / "results.md"
    page.write_text("no place for a table")
    with pytest.raises(ValueError, match="needs the lines"):
        eval_digits.digits_table(runs=runs, page=page, items=20)
