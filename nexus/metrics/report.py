"""An evaluation as one HTML file that opens from disk: figures and their protocols, differences, plots, items to hear
and see. It holds everything it shows and asks no network for anything; equal evaluations are equal files.
"""

from xml.etree.ElementTree import Element

from nexus.media.io import PathLike, check_suffix, check_writable, write_atomically
from nexus.metrics.figures import Evaluation, Item
from nexus.metrics.markup import element, page
from nexus.metrics.report_media import shown
from nexus.metrics.report_plots import spread
from nexus.metrics.report_tables import by_figure, differences, figures_table, number


def write_report(evaluation: Evaluation, path: PathLike, against: Evaluation | None = None) -> None:
    """Writes the page to `path` (.html), whole or not at all; with differences to another evaluation where given.

    Raises:
        ValueError: `path` does not end in .html, or there is neither a figure nor an item to show.
        OSError: the file could not be written.
    """
    check_suffix(path, (".html", ".htm"))
    check_writable(path)
    if not evaluation.figures and not evaluation.items:
        raise ValueError(
            f"the evaluation of {evaluation.model} has neither figures nor items; there is nothing to report"
        )
    write_atomically(path, html(evaluation, against))


def html(evaluation: Evaluation, against: Evaluation | None = None) -> bytes:
    title = f"{evaluation.kind}: {evaluation.model} on {evaluation.data}"
    compared = None
    if against is not None:
        compared = section(f"Against {against.model}", *differences(evaluation, against))
    return page(
        title,
        element("h1", title),
        section("Figures", figures_table(evaluation) if by_figure(evaluation) else element("p", "None were measured.")),
        compared,
        section("Judges left out", *_left_out(evaluation.left_out)),
        section("Spread over items", *_spreads(evaluation)),
        section(f"Items ({len(evaluation.items)})", *_items(evaluation.items)),
    )


def section(title: str, *content: Element) -> Element:
    return element("section", element("h2", title), *content)


def _left_out(judges: tuple[str, ...]) -> list[Element]:
    if not judges:
        return [element("p", "None.")]
    return [element("ul", *(element("li", judge) for judge in judges))]


def _spreads(evaluation: Evaluation) -> list[Element]:
    """A plot a figure; figures of a whole set, which have no value an item, are named instead."""
    drawn = {name: spread(found) for name, found in by_figure(evaluation).items()}
    plots = [plot for plot in drawn.values() if plot is not None]
    whole = [name for name, plot in drawn.items() if plot is None]
    words = []
    if plots:
        words.append("Bars count items; the dot is the figure, the line beside it its 95 % interval.")
    if whole:
        words.append(f"Of the whole set, without values an item: {', '.join(whole)}.")
    return [element("p", " ".join(words) or "None.", class_="soft"), element("div", *plots, class_="plots")]


def _items(items: tuple[Item, ...]) -> list[Element]:
    if not items:
        return [element("p", "None are shown.")]
    return [_item(i, item) for i, item in enumerate(items, 1)]


def _item(index: int, item: Item) -> Element:
    media = [shown(item.made, "made")]
    if item.reference is not None:
        media.append(shown(item.reference, "reference"))
    values: list[Element] = []
    for name, value in item.values.items():
        values += [element("dt", name), element("dd", number(value))]
    return element(
        "article",
        element("h3", f"{index}. {item.prompt}"),
        element("div", *media, class_="pair"),
        element("p", item.note, class_="note") if item.note else None,
        element("dl", *values) if values else None,
        id=f"item-{index}",
    )
