"""The table of what was learnt on the digits, as Markdown: a row a model and way of sampling, claims by figures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy.stats import t as student

from nexus.metrics.evaluate_digits import COVERED, EVALUATIONS, FRECHET, LIKENESS, NOVELTY, RIGHT, SECONDS
from nexus.metrics.evaluate_stacked import DIVERGENCE, KINDS
from nexus.metrics.evaluate_translation import Translated
from nexus.metrics.evaluate_vae import Kept
from nexus.metrics.figures import Evaluation, Figure, compare

SECTIONS = ("digits", "stacked digits", "codes", "day and night")  # of a page, between marks
BEGIN, END = "<!-- {}: made by `nexus eval digits-table` -->", "<!-- {}: end -->"


@dataclass(frozen=True, kw_only=True)
class Row:
    name: str
    run: str  # the folder of a recipe's run
    settings: Mapping[str, Any] = field(default_factory=dict)  # of `generate`
    untrained: bool = False  # the same model before its first step
    stacked: bool = False  # a GAN of stacked digits

    @property
    def steps(self) -> str:
        """Of sampling, as they were asked for."""
        return str(self.settings.get("steps", ""))


@dataclass(frozen=True, kw_only=True)
class Claim:
    """What the field says: by this figure the first row is better than the second."""

    words: str
    first: str
    second: str
    figure: str = FRECHET


HEADINGS = (
    ("training steps", None),
    ("steps", None),
    ("network evaluations", EVALUATIONS),
    ("class right, %", RIGHT),
    ("Fréchet", FRECHET),
    ("MS-SSIM within class", LIKENESS),
    ("classes covered", COVERED),
    ("nearest training digit", NOVELTY),
    ("ms a picture", SECONDS),
)


def table(rows: Sequence[tuple[Row, int, Evaluation]]) -> str:
    """A line a row, then those of the data and of noise, which are the same for all.

    Args:
        rows: each with the steps it was trained for.
    """
    lines = [
        "| " + " | ".join(("model", *(heading for heading, _ in HEADINGS))) + " |",
        "|---|" + "--:|" * len(HEADINGS),
    ]
    for row, trained, evaluation in rows:
        lines.append(_line(row.name, "" if row.untrained else str(trained), row.steps, evaluation.figures))
    for name, figures in rows[0][2].baselines.items():
        lines.append(_line(f"*{name}*", "", "", figures))
    return "\n".join(lines)


def stacked_table(rows: Sequence[tuple[Row, Mapping[int, Evaluation]]]) -> str:
    """A line a GAN of stacked digits, its trainings' figures side by side, by seed; then the data and noise."""
    columns = ((KINDS, "{:.0f}"), (DIVERGENCE, "{:.2f}"), (NOVELTY, "{:.2f}"))
    lines = [
        "| game | seeds | kinds covered, of 1,000 | divergence from even, nats | nearest training digit |",
        "|---|--:|--:|--:|--:|",
    ]
    told = [
        (row.name, sorted(trainings), [trainings[seed].figures for seed in sorted(trainings)])
        for row, trainings in rows
    ]
    baselines = next(iter(rows[0][1].values())).baselines
    for name, seeds, several in [*told, *((f"*{name}*", (), [figures]) for name, figures in baselines.items())]:
        cells = [", ".join(form.format(_value(figures, of)) for figures in several) for of, form in columns]
        lines.append("| " + " | ".join((name, ", ".join(map(str, seeds)), *cells)) + " |")
    return "\n".join(lines)


def codes_table(rows: Sequence[tuple[Row, int, Kept]]) -> str:
    """A line a VAE, with the steps it was trained for."""
    lines = [
        "| model | training steps | KL | active units | ELBO | bound of 50 samples | error of reconstruction |",
        "|---|" + "--:|" * 6,
    ]
    for row, trained, kept in rows:
        report = kept.report
        cells = (f"{sum(report.kl):.1f}", f"{report.n_active} of {len(report.kl)}", f"{kept.elbo:.1f}")
        lines.append(f"| {row.name} | {trained} | {' | '.join(cells)} | {kept.bound:.1f} | {kept.error:.3f} |")
    return "\n".join(lines)


def translation_table(found: Sequence[Translated]) -> str:
    """A line a way."""
    lines = [
        "| way | seen as what it should be | Fréchet | Fréchet of pictures left as they are | there and back, L1 "
        "| what is there already, L1 |",
        "|---|" + "--:|" * 5,
    ]
    for way in found:
        distances = (f"{one.value:.1f} [{one.low:.1f}, {one.high:.1f}]" for one in (way.frechet, way.untouched))
        cells = (f"{100 * way.seen:.0f} %", *distances, f"{way.back:.2f}", f"{way.kept:.2f}")
        lines.append(f"| {way.source} to {way.target} | {' | '.join(cells)} |")
    return "\n".join(lines)


def told(claim: Claim, figures: Mapping[str, Evaluation]) -> str | None:
    """Whether what the field says was seen here, with the figures; None where a row was not measured."""
    if not {claim.first, claim.second} <= set(figures):
        return None
    first, second = (_of(figures[name].figures, claim.figure) for name in (claim.first, claim.second))
    if first is None or second is None:
        return None
    gap = compare(first, second)
    seen = {"first": "reproduced", "second": "**the other way round here**", None: "**not reproduced**"}[gap.winner]
    return (
        f"- {claim.words}: {seen} ({claim.figure} {first.value:.3g} against {second.value:.3g}; "
        f"the difference is {gap.value:.2g} [{gap.low:.2g}, {gap.high:.2g}])."
    )


def told_of_several(claim: Claim, several: Mapping[str, Mapping[int, Evaluation]]) -> str | None:
    """The same over trainings from several seeds, as a point below the first; None where there are not two."""
    over = _over_trainings(claim, several)
    return over and f"  - Over {over[0]} trainings: {over[1]} ({over[2]})."


def told_of_trainings(claim: Claim, several: Mapping[str, Mapping[int, Evaluation]]) -> str | None:
    """The same where one training says nothing; None where there are not two."""
    over = _over_trainings(claim, several)
    return over and f"- {claim.words}: {over[1]} over {over[0]} trainings ({claim.figure} {over[2]})."


def _over_trainings(claim: Claim, several: Mapping[str, Mapping[int, Evaluation]]) -> tuple[int, str, str] | None:
    """Of how many trainings that both rows have, what was seen, and by which figures.

    The interval is Student's, of the differences seed by seed: it holds what both trainings and pictures vary by.
    """
    firsts, seconds = several.get(claim.first, {}), several.get(claim.second, {})
    pairs = [(firsts[seed], seconds[seed]) for seed in firsts if seed in seconds]
    found = [tuple(_of(evaluation.figures, claim.figure) for evaluation in pair) for pair in pairs]
    known = [(first, second) for first, second in found if first is not None and second is not None]
    if len(known) < 2:
        return None
    gaps = np.array([first.value - second.value for first, second in known])
    half = float(student.ppf(0.975, len(gaps) - 1) * gaps.std(ddof=1) / len(gaps) ** 0.5)
    low, high = gaps.mean() - half, gaps.mean() + half
    better = high < 0 if known[0][0].better == "lower" else low > 0
    worse = low > 0 if known[0][0].better == "lower" else high < 0
    seen = "reproduced" if better else "the other way round" if worse else "not reproduced"
    values = [", ".join(f"{figure.value:.3g}" for figure in column) for column in zip(*known, strict=True)]
    gap = f"the mean difference is {_short(gaps.mean())} [{_short(low)}, {_short(high)}]"
    return len(gaps), seen, f"{values[0]} against {values[1]}; {gap}"


def replaced(page: str, of: str, section: str) -> str:
    """The page with this in place of one of its `SECTIONS`.

    Raises:
        ValueError: a page without the marks.
    """
    first, last = BEGIN.format(of), END.format(of)
    head, begin, rest = page.partition(first)
    _, end, tail = rest.partition(last)
    if not (begin and end):
        raise ValueError(f"the page has no section for the table: it needs the lines {first} and {last}")
    return f"{head}{first}\n{section}\n{last}{tail}"


def _line(name: str, trained: str, steps: str, figures: Sequence[Figure]) -> str:
    cells = [trained, steps, *(_cell(figures, of) for _, of in HEADINGS if of is not None)]
    return "| " + " | ".join((name, *cells)) + " |"


def _cell(figures: Sequence[Figure], name: str) -> str:
    found = _of(figures, name)
    if found is None:
        return ""
    if name == SECONDS:
        return f"{1000 * found.value:.3g}"
    if name in (EVALUATIONS, COVERED):
        return f"{found.value:g}"
    if name == FRECHET:
        return f"{found.value:.1f} [{found.low:.1f}, {found.high:.1f}]"
    return f"{found.value:.1f}" if name == RIGHT else f"{found.value:.2f}"


def _short(value: float) -> str:
    return f"{value:.2g}" if abs(value) < 100 else f"{value:.0f}"


def _value(figures: Sequence[Figure], name: str) -> float:
    found = _of(figures, name)
    assert found is not None
    return found.value


def _of(figures: Sequence[Figure], name: str) -> Figure | None:
    return next((figure for figure in figures if figure.name == name), None)
