import re
from pathlib import Path

import numpy as np
import pytest

from nexus.media.image import Image

pytest.importorskip("matplotlib")
pytest.importorskip("mkdocs")

from pictures import hook, registry
from pictures.all import PICTURES
from pictures.registry import Made, Picture, make

PAGES = sorted(Path("docs").rglob("*.md"))


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.setattr(registry, "KEPT", tmp_path)


def test_each_picture_that_a_page_shows_is_drawn_and_each_that_is_drawn_is_shown():
    shown = {name for page in PAGES for name in hook.named(page.read_text())}
    assert shown == set(PICTURES)
    assert sum(text.count("pictures/") - text.count("`pictures/") for text in map(Path.read_text, PAGES)) == sum(
        len(hook.named(page.read_text())) for page in PAGES
    )  # none is written in a way that the hook passes over


def test_no_page_of_a_model_shows_a_picture_from_a_file():
    for page in Path("docs/models").glob("*.md"):
        assert len(hook.named(page.read_text())) == len(re.findall(r"!\[", page.read_text())), page


def test_the_solvers_picture_is_drawn_once_and_has_a_line_for_each():
    made = make("solver-errors", PICTURES["solver-errors"], "brief")
    assert made.file is not None and "`solver_errors`" in made.note
    pixels = Image.load(made.file).pixels.reshape(-1, 3)
    colours, counts = np.unique(pixels, axis=0, return_counts=True)
    inks = colours[(counts > 200) & (np.ptp(colours.astype(int), axis=1) > 80)]
    assert len(inks) == 4  # matplotlib's first four, one a solver
    before = made.file.stat().st_mtime_ns
    assert make("solver-errors", PICTURES["solver-errors"], "brief") == made
    assert made.file.stat().st_mtime_ns == before


def test_what_a_picture_is_drawn_of_is_part_of_its_name(monkeypatch):
    drawn = []

    def draw(model, shade=100):
        drawn.append(shade)
        return Image(np.full((2, 2, 3), shade, np.uint8))

    picture = Picture(draw=draw, models=("nexus/vocos-tiny",), brief={"shade": 50})
    brief, full = make("p", picture, "brief"), make("p", picture, "full")
    assert drawn == [50, 100] and brief.file != full.file
    assert "briefly" in brief.note and "briefly" not in full.note and "nexus/vocos-tiny" in full.note
    monkeypatch.setattr(registry, "weights_hash", lambda source: "other weights")
    assert make("p", picture, "full").file != full.file


def test_a_page_gets_captions_with_and_without_pictures(monkeypatch):
    page = "Before.\n\n![A *line* a solver.](../pictures/solver-errors.png)\n\nAfter."
    without = hook.SHOWN.sub(lambda found: hook.figure(found, "none"), page)
    assert "A *line* a solver." in without and "`make docs` draws it" in without and "![" not in without
    monkeypatch.setattr(hook, "make", lambda name, picture, mode: Made(Path("x.png"), "Drawn by hand."))
    shown = hook.SHOWN.sub(lambda found: hook.figure(found, "brief"), page)
    assert "![solver-errors](../pictures/solver-errors.png)" in shown and "Drawn by hand." in shown

    def fontless(name, picture, mode):
        raise FileNotFoundError("a font is missing")

    monkeypatch.setattr(hook, "make", fontless)
    assert "a font is missing" in hook.SHOWN.sub(lambda found: hook.figure(found, "brief"), page)


def test_captions_are_set_as_markdown_wherever_a_page_shows_a_picture():
    markdown = pytest.importorskip("markdown")
    for page in PAGES:
        text = hook.SHOWN.sub(lambda found: hook.figure(found, "none"), page.read_text())
        made = markdown.markdown(text, extensions=["md_in_html", "attr_list", "tables", "fenced_code"])
        assert made.count("<figure>") == len(hook.named(page.read_text())) and "&lt;br&gt;" not in made, page


def test_equations_become_mathml():
    inline = hook.on_page_content('<p><span class="arithmatex">\\(a &lt; \\frac{b}{c}\\)</span></p>', None, None, None)
    assert "<mfrac>" in inline and "&#x0003C;" in inline and 'display="inline"' in inline and "arithmatex" not in inline
    block = hook.on_page_content('<div class="arithmatex">\\[x^2\\]</div>', None, None, None)
    assert 'display="block"' in block and "<msup>" in block
