"""The figures of an evaluation as tables: values with intervals, their protocol cards, differences, refusals."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import fields
from xml.etree.ElementTree import Element

from nexus.metrics.figures import Card, Difference, Evaluation, Figure, compare
from nexus.metrics.markup import element


def number(value: float | int, low: float | int = math.nan, high: float | int = math.nan) -> str:
    """As precise as its interval allows: to the second digit of the interval's width."""
    if not math.isfinite(value):
        return "—" if math.isnan(value) else "infinite"
    width = high - low
    if not math.isfinite(width) or width <= 0:
        return f"{value:.4g}"
    return f"{value:.{max(0, min(6, 1 - math.floor(math.log10(width))))}f}"


def with_interval(value: float, low: float, high: float, unit: str) -> list[Element | str]:
    unit = f"\N{NO-BREAK SPACE}{unit}" if unit else ""
    inside = f"[{number(low, low, high)}, {number(high, low, high)}]"
    return [element("b", number(value, low, high) + unit), " ", element("span", inside, class_="soft")]


def systems(evaluation: Evaluation) -> dict[str, tuple[Figure, ...]]:
    """The model first, then the baselines; a baseline of the model's name is told apart."""
    named = {evaluation.model: evaluation.figures}
    for name, figures in evaluation.baselines.items():
        named[name if name not in named else f"{name} (baseline)"] = figures
    return named


def by_figure(evaluation: Evaluation) -> dict[str, dict[str, Figure]]:
    """{figure: {system: figure}}, in the order in which figures are first met."""
    table: dict[str, dict[str, Figure]] = {}
    for system, figures in systems(evaluation).items():
        for of in figures:
            table.setdefault(of.name, {})[system] = of
    return table


def figures_table(evaluation: Evaluation) -> Element:
    names = list(systems(evaluation))
    head = [element("th", "figure", scope="col"), *(element("th", name, scope="col") for name in names)]
    rows = []
    for name, found in by_figure(evaluation).items():
        own = found.get(evaluation.model)
        better = {of.better for of in found.values()}
        hint = f"{' or '.join(sorted(better))} is better"
        cells = [_cell(system, found.get(system), own) for system in names]
        rows.append(element("tr", element("th", name, element("div", hint, class_="soft"), scope="row"), *cells))
    caption = element("caption", "Values with 95 % bootstrap intervals; each unfolds to its protocol.")
    return element("table", caption, element("thead", element("tr", *head)), element("tbody", *rows))


def _cell(system: str, of: Figure | None, own: Figure | None) -> Element:
    if of is None:
        return element("td", "not measured", data_label=system, class_="soft")
    unjudged = sum(math.isnan(x) for x in of.items)
    words = f"{unjudged} of {len(of.items)} items could not be judged"
    missing = element("div", words, class_="bad") if unjudged else None
    other = None
    if own is not None and own is not of and (why := refusal(own, of)):
        other = element("div", why, class_="bad")
    return element("td", *with_interval(of.value, of.low, of.high, of.unit), missing, other, card(of.card),
                   data_label=system)  # fmt: skip


def card(of: Card) -> Element:
    rows: list[Element] = []
    for field in fields(of):
        rows += [element("dt", field.name), element("dd", str(getattr(of, field.name)) or "none")]
    return element("details", element("summary", "protocol"), element("dl", *rows))


def refusal(a: Figure, b: Figure) -> str | None:
    """Why two figures are not compared; None where they are."""
    try:
        compare(a, b)
    except ValueError as error:
        return str(error)
    return None


def differences(evaluation: Evaluation, against: Evaluation) -> list[Element]:
    """A table of this less that, with a reason in place of every difference that would not mean anything."""
    unlike = [
        f"{what} ({ours} and {theirs})"
        for what, ours, theirs in (
            ("kind", evaluation.kind, against.kind),
            ("data", evaluation.data, against.data),
        )
        if ours != theirs
    ]
    if unlike:
        return [element("p", f"Not compared: the evaluations differ in {' and '.join(unlike)}.", class_="bad")]
    ours, theirs = _named(evaluation.figures), _named(against.figures)
    rows = [
        element("tr", element("th", name, scope="row"), *_difference_cells(ours.get(name), theirs.get(name)))
        for name in dict.fromkeys([*ours, *theirs])
    ]
    if not rows:
        return [element("p", "Neither has figures to compare.")]
    head = [element("th", text, scope="col") for text in ("figure", "difference", "which is better")]
    caption = element("caption", f"{evaluation.model} less {against.model}, with 95 % intervals.")
    return [element("table", caption, element("thead", element("tr", *head)), element("tbody", *rows))]


def _named(figures: Sequence[Figure]) -> Mapping[str, Figure]:
    return {of.name: of for of in figures}


def _difference_cells(ours: Figure | None, theirs: Figure | None) -> list[Element]:
    if ours is None or theirs is None:
        which = "this one" if ours is None else "the other"
        return [element("td", f"not compared: {which} lacks it", class_="bad", data_label="difference", colspan=2)]
    if why := refusal(ours, theirs):
        return [element("td", why, class_="bad", data_label="difference", colspan=2)]
    gap = compare(ours, theirs)
    return [
        element("td", *with_interval(gap.value, gap.low, gap.high, gap.unit), data_label="difference"),
        _verdict(gap),
    ]


def _verdict(gap: Difference) -> Element:
    words = {"first": "this one", "second": "the other", None: "cannot be told: the interval holds 0"}[gap.winner]
    how = "same items, paired" if gap.paired else "intervals taken as independent"
    kind = {"first": "good", "second": "bad", None: "soft"}[gap.winner]
    return element("td", element("span", words, class_=kind), element("div", how, class_="soft"),
                   data_label="which is better")  # fmt: skip
