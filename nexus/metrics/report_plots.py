"""How the items of a figure are spread: one histogram a system over a common axis, drawn as SVG in the page."""

from collections.abc import Mapping
from xml.etree.ElementTree import Element

import numpy as np

from nexus.metrics.figures import Figure
from nexus.metrics.markup import element

WIDTH, LEFT, RIGHT = 340, 8, 332  # of the drawing, and where the axis begins and ends
ROW, BARS = 52, 26  # height of a system's row, of its highest bar
MOST_BINS = 24


def spread(figures: Mapping[str, Figure]) -> Element | None:
    """Histograms of one figure's items by system, with mean and interval; None where nothing has items."""
    values = {name: finite(of.items) for name, of in figures.items()}
    values = {name: items for name, items in values.items() if items}
    if not values:
        return None
    everything = [x for items in values.values() for x in items]
    marks = [x for name in values for x in (figures[name].low, figures[name].high) if np.isfinite(x)]
    low, high = min(everything + marks), max(everything + marks)
    low, high = (low, high) if high > low else (low - 0.5, high + 0.5)
    bins = min(MOST_BINS, max(4, round(len(max(values.values(), key=len)) ** 0.5) * 2))
    first = next(iter(figures.values()))
    title = f"{first.name}{f' ({first.unit})' if first.unit else ''}: " + ", ".join(
        f"{name} {len(items)} items" for name, items in values.items()
    )
    rows = [row for i, name in enumerate(values) for row in _row(i, name, values[name], figures[name], low, high, bins)]
    bottom = ROW * len(values) + 4
    axis = [
        element("line", x1=LEFT, x2=RIGHT, y1=bottom, y2=bottom, class_="axis"),
        element("text", f"{low:.3g}", x=LEFT, y=bottom + 13),
        element("text", f"{high:.3g}", x=RIGHT, y=bottom + 13, text_anchor="end"),
    ]
    drawing = element("svg", element("title", title), *rows, *axis, viewBox=f"0 0 {WIDTH} {bottom + 18}", role="img")
    return element("figure", element("figcaption", title), drawing, class_="spread")


def _row(
    index: int, name: str, items: list[float], of: Figure, low: float, high: float, bins: int
) -> tuple[Element, ...]:
    counts, edges = np.histogram(items, bins=bins, range=(low, high))
    floor = ROW * (index + 1) - 8

    def x(value: float) -> float:
        return LEFT + (min(max(value, low), high) - low) / (high - low) * (RIGHT - LEFT)

    bars = "".join(
        f"M{x(a):.1f} {floor}V{floor - BARS * count / counts.max():.1f}H{x(b) - 0.6:.1f}V{floor}Z"
        for count, a, b in zip(counts.tolist(), edges[:-1].tolist(), edges[1:].tolist(), strict=True)
        if count
    )
    interval = element("line", x1=f"{x(of.low):.1f}", x2=f"{x(of.high):.1f}", y1=floor + 4, y2=floor + 4, class_="ci")
    return (
        element("text", name, x=LEFT, y=floor - BARS - 6),
        element("path", d=bars, class_="bars" if index == 0 else "bars other"),
        *((interval,) if np.isfinite([of.low, of.high]).all() else ()),
        *((element("circle", cx=f"{x(of.value):.1f}", cy=floor + 4, r=3),) if np.isfinite(of.value) else ()),
    )


def finite(items: tuple[float, ...]) -> list[float]:
    return [float(x) for x in items if np.isfinite(x)]
