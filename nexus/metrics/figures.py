"""Figures that can be trusted: a value, its interval, and the card that says how it was come by.

Intervals are percentile bootstraps over items (Efron, 1979), 2000 resamples drawn with one fixed seed, so that the same
items always give the same interval. Two figures are compared only where their cards agree.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal

import numpy as np
from jaxtyping import Float

from nexus.media import Audio, Image, Video

RESAMPLES = 2000
LEVEL = 95  # per cent
Better = Literal["higher", "lower"]
Kind = Literal["speech", "music", "sound", "video", "image"]


@dataclass(frozen=True, kw_only=True)
class Card:
    """The protocol of a figure: whatever, were it different, could change the figure."""

    judge: str  # such as "whisper base"
    version: str  # of the package that brings the judge
    weights: str  # SHA-256 of the judge's weights, 16 hex digits; "" where it has none
    items: int  # that the judge could judge
    resampling: str  # such as "24000 -> 16000 Hz, soxr VHQ"; "" where nothing is resampled
    crop: str  # such as "first 10 s"; "" where nothing is cut
    seed: int


@dataclass(frozen=True, kw_only=True)
class Figure:
    name: str
    value: float
    low: float  # 95 % bootstrap interval
    high: float
    unit: str  # "%", "dB", ""
    better: Better
    card: Card
    items: tuple[float, ...] = ()  # one value an item, NaN where it could not be judged; () for figures of a whole set
    weights: tuple[float, ...] = ()  # of the items in the mean, such as words of each sentence; () where all are equal


@dataclass(frozen=True, kw_only=True)
class Difference:
    """The first figure less the second, with its 95 % interval."""

    name: str
    value: float
    low: float
    high: float
    unit: str
    better: Better
    paired: bool  # the same items were judged in both, and their differences resampled

    @property
    def winner(self) -> Literal["first", "second"] | None:
        """Which is better; None where the interval holds 0."""
        if self.low <= 0 <= self.high:
            return None
        return "first" if (self.value > 0) == (self.better == "higher") else "second"


@dataclass(frozen=True, kw_only=True)
class Item:
    """What a report shows of one item: the prompt, what was made of it, its own figures."""

    prompt: str
    made: Audio | Video | Image
    reference: Audio | Video | Image | None
    values: Mapping[str, float]
    note: str  # such as the transcript


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """What was measured of a model on data, and of baselines on the same data by the same judges."""

    kind: Kind
    model: str
    data: str
    figures: tuple[Figure, ...]
    baselines: Mapping[str, tuple[Figure, ...]]
    items: tuple[Item, ...]
    left_out: tuple[str, ...]  # judges that were left out, each with the file or package it wants


def mean(items: Float[np.ndarray, " N"]) -> float:
    return float(np.mean(items))


def figure(
    name: str,
    items: Sequence[float | int],
    *,
    unit: str,
    better: Better,
    card: Card,
    statistic: Callable[[Float[np.ndarray, " N"]], float] = mean,
    weights: Sequence[float | int] = (),
) -> Figure:
    """The statistic of the items with its interval; items that are NaN could not be judged, and do not count.

    `weights` (such as the words of each sentence) make it a weighted mean; they go with no other statistic.

    Raises:
        ValueError: under two items to judge, an infinite one, unequal counts, or weights with another statistic.
    """
    values = np.array(items, dtype=np.float64)
    shares = np.array(weights, dtype=np.float64) if len(weights) else np.ones_like(values)
    if shares.shape != values.shape:
        raise ValueError(f"{name}: need as many weights as items, got {len(shares)} for {len(values)}")
    if len(weights) and statistic is not mean:
        raise ValueError(f"{name}: weights make a weighted mean and go with no other statistic")
    if np.isinf(values).any():
        raise ValueError(f"{name}: item {int(np.isinf(values).argmax())} is infinite")
    judged = ~np.isnan(values)
    if judged.sum() < 2:
        raise ValueError(f"{name}: an interval needs at least 2 items, got {int(judged.sum())} that could be judged")
    known, shares = values[judged], shares[judged]
    draws = np.random.default_rng(0).integers(len(known), size=(RESAMPLES, len(known)))
    if statistic is mean:
        value = float(np.average(known, weights=shares))
        spread = (known * shares)[draws].sum(1) / shares[draws].sum(1)
    else:
        value, spread = float(statistic(known)), np.array([statistic(known[draw]) for draw in draws])
    low, high = interval(spread)
    return Figure(
        name=name, value=value, low=low, high=high, unit=unit, better=better,
        card=replace(card, items=len(known)),
        items=tuple(values.tolist()), weights=tuple(float(w) for w in weights),
    )  # fmt: skip


def interval(spread: Float[np.ndarray, " R"]) -> tuple[float, float]:
    """The middle 95 % of a statistic's values over resamples."""
    low, high = np.percentile(spread, [50 - LEVEL / 2, 50 + LEVEL / 2])
    return float(low), float(high)


def compare(a: Figure, b: Figure) -> Difference:
    """`a` less `b`. Where both are means over the same items the differences are resampled, item by item; else the
    two intervals are taken as independent.

    Raises:
        ValueError: different figures, or cards that differ; says in which fields.
    """
    if (a.name, a.unit, a.better) != (b.name, b.unit, b.better):
        raise ValueError(f"{a.name!r} ({a.unit}) and {b.name!r} ({b.unit}) are different figures")
    differing = [
        f"{field.name} ({getattr(a.card, field.name)!r} and {getattr(b.card, field.name)!r})"
        for field in fields(Card)
        if getattr(a.card, field.name) != getattr(b.card, field.name)
    ]
    if differing:
        raise ValueError(f"{a.name}: not compared, the protocols differ in {', '.join(differing)}")
    value = a.value - b.value
    paired = _pairs(a, b)
    if paired:
        gap = figure(a.name, np.subtract(a.items, b.items).tolist(), unit=a.unit, better=a.better, card=a.card,
                     weights=a.weights)  # fmt: skip
        low, high = gap.low, gap.high
    else:
        low = value - float(np.hypot(a.value - a.low, b.high - b.value))
        high = value + float(np.hypot(a.high - a.value, b.value - b.low))
    return Difference(name=a.name, value=value, low=low, high=high, unit=a.unit, better=a.better, paired=paired)


def _pairs(a: Figure, b: Figure) -> bool:
    """Whether both are means over the same judged items, so that their difference is the mean of differences."""
    if not a.items or len(a.items) != len(b.items) or a.weights != b.weights:
        return False
    if not np.array_equal(np.isnan(a.items), np.isnan(b.items)):
        return False
    return _is_mean(a) and _is_mean(b)


def _is_mean(of: Figure) -> bool:
    judged = ~np.isnan(of.items)
    shares = np.array(of.weights)[judged] if of.weights else None
    return bool(np.isclose(of.value, np.average(np.array(of.items)[judged], weights=shares)))


def to_json(evaluation: Evaluation) -> str:
    """As text, without the media; NaN becomes null."""
    data = {
        "kind": evaluation.kind,
        "model": evaluation.model,
        "data": evaluation.data,
        "figures": [_row(f) for f in evaluation.figures],
        "baselines": {name: [_row(f) for f in figures] for name, figures in evaluation.baselines.items()},
        "items": [{"prompt": i.prompt, "values": _nulls(dict(i.values)), "note": i.note} for i in evaluation.items],
        "left_out": list(evaluation.left_out),
    }
    return json.dumps(data, ensure_ascii=False, allow_nan=False, indent=1)


def from_json(text: str) -> Evaluation:
    """What `to_json` wrote; its `items` are empty, since a text holds no media.

    Raises:
        ValueError: not JSON, or not of an evaluation.
    """
    try:
        data = json.loads(text)
        return Evaluation(
            kind=data["kind"],
            model=data["model"],
            data=data["data"],
            figures=tuple(_figure(row) for row in data["figures"]),
            baselines={name: tuple(_figure(row) for row in rows) for name, rows in data["baselines"].items()},
            items=(),
            left_out=tuple(data["left_out"]),
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"this is not an evaluation that nexus wrote: {error}") from error


def _row(of: Figure) -> dict[str, Any]:
    return _nulls(asdict(of))


def _nulls(data: Any) -> Any:
    """The same with None for NaN, which JSON has not."""
    if isinstance(data, dict):
        return {name: _nulls(value) for name, value in data.items()}
    if isinstance(data, list | tuple):
        return [_nulls(value) for value in data]
    return None if isinstance(data, float) and np.isnan(data) else data


def _figure(row: dict[str, Any]) -> Figure:
    items, weights = (
        tuple(float("nan") if x is None else float(x) for x in row[name]) for name in ("items", "weights")
    )
    return Figure(**{**row, "card": Card(**row["card"]), "items": items, "weights": weights})
