"""Judges over samples: every figure with its card, every item with its verdict, and who was left out and why."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from nexus.media import Audio
from nexus.metrics.figures import Card, Figure, Item, figure
from nexus.metrics.judge import Judge, Measure, MissingJudge, Sample, Verdict

Progress = Callable[[float | int, float | int, str], None]  # done, in all, of what


@dataclass(frozen=True, kw_only=True)
class Judged:
    figures: tuple[Figure, ...]
    verdicts: tuple[Verdict, ...]  # one a sample
    left_out: tuple[str, ...]  # measures for which too few items could be judged


def present(makers: Iterable[Callable[[], Judge]]) -> tuple[tuple[Judge, ...], tuple[str, ...]]:
    """The judges that are installed, and of the others what they want."""
    judges, left_out = [], []
    for make in makers:
        try:
            judges.append(make())
        except MissingJudge as missing:
            left_out.append(str(missing))
    return tuple(judges), tuple(left_out)


@dataclass(frozen=True)
class Figures:
    """Figures of whole sets, and why others are missing; sums of such."""

    found: tuple[Figure, ...] = ()
    left_out: tuple[str, ...] = ()

    def __add__(self, other: "Figures") -> "Figures":
        return Figures(self.found + other.found, self.left_out + other.left_out)


def or_why(make: Callable[[], Figure]) -> Figures:
    """The figure, or the sentence that says why there is none."""
    try:
        return Figures((make(),))
    except (MissingJudge, ValueError) as why:
        return Figures((), (str(why),))


def judge_all(
    samples: Sequence[Sample], judges: Sequence[Judge], *, seed: int, what: str = "", progress: Progress | None = None
) -> Judged:
    """Every sample before every judge; judges that need what no sample has (a reference, a voice) say nothing.

    Raises:
        ValueError: no samples, or only some of them have what a judge needs.
    """
    if not samples:
        raise ValueError("there is nothing to judge: no items")
    judges = [judge for judge in judges if _has_needs(judge, samples)]
    verdicts: list[list[Verdict]] = [[] for _ in judges]
    for i, sample in enumerate(samples):
        for judge, given in zip(judges, verdicts, strict=True):
            given.append(judge.values(sample))
        if progress is not None:
            progress(i + 1, len(samples), f"judging {what}".strip())
    figures, left_out = [], []
    for judge, given in zip(judges, verdicts, strict=True):
        for measure in judge.measures:
            try:
                figures.append(_figure(judge, measure, samples, given, seed))
            except ValueError as few:
                left_out.append(str(few))
    whole = tuple(_merged([given[i] for given in verdicts]) for i in range(len(samples)))
    return Judged(figures=tuple(figures), verdicts=whole, left_out=tuple(left_out))


def items_of(samples: Sequence[Sample], verdicts: Sequence[Verdict]) -> tuple[Item, ...]:
    """Samples as a report shows them."""
    return tuple(
        Item(prompt=s.prompt, made=s.made, reference=s.reference, values=dict(v.values), note=v.note)
        for s, v in zip(samples, verdicts, strict=True)
    )


def resampling(rates: Iterable[int], rate: int | None) -> str:
    """How sounds come to the rate that a judge hears at, for its card; "" where they have it or it takes any."""
    others = sorted({r for r in rates if r != rate})
    return f"{', '.join(map(str, others))} -> {rate} Hz, soxr VHQ" if rate is not None and others else ""


def describe_silence(samples: Sequence[Sample]) -> tuple[str, ...]:
    """A sentence that names the items that came out silent; none where none did."""
    silent = [str(i) for i, sample in enumerate(samples) if not sample.made.peak]
    return (f"{len(silent)} of {len(samples)} items are silent: {', '.join(silent)}",) if silent else ()


def require_items(items: int) -> None:
    """Raises ValueError for too few items for an interval."""
    if items < 2:
        raise ValueError(f"an interval needs at least 2 items, got {items}")


def require_sounds(named: Sequence[tuple[str, Callable[[], Audio]]]) -> list[Audio]:
    """Loads sounds of a set, each with the name it is told by.

    Raises:
        ValueError: some are missing, damaged, empty or silent; counts and names them.
    """
    sounds, wrong = [], []
    for name, load in named:
        try:
            sound = load()
            sounds.append(sound)
            if not sound.length or not sound.peak:
                wrong.append(f"{name} is {'silent' if sound.length else 'empty'}")
        except (OSError, ValueError) as error:
            said = str(error)
            wrong.append(said if name in said else f"{name}: {said}")
    if wrong:
        raise ValueError(f"{len(wrong)} of {len(named)} sounds cannot be used: {'; '.join(wrong[:10])}")
    return sounds


def _has_needs(judge: Judge, samples: Sequence[Sample]) -> bool:
    for field in judge.needs:
        lacking = sum(getattr(sample, field) is None for sample in samples)
        if 0 < lacking < len(samples):
            raise ValueError(f"{judge.name} needs a {field} for every item; {lacking} of {len(samples)} have none")
        if lacking:
            return False
    return True


def _figure(judge: Judge, measure: Measure, samples: Sequence[Sample], given: Sequence[Verdict], seed: int) -> Figure:
    rates = {sample.made.rate for sample in samples} if judge.rate else set()
    card = Card(
        judge=judge.name,
        version=judge.version,
        weights=judge.weights,
        items=len(samples),
        resampling=resampling(rates, judge.rate),
        crop=judge.crop,
        seed=seed,
    )
    weight = measure.weight
    weights = () if weight is None else tuple(weight(sample) for sample in samples)
    values = [verdict.values[measure.name] for verdict in given]
    return figure(measure.name, values, unit=measure.unit, better=measure.better, card=card, weights=weights)


def _merged(verdicts: Sequence[Verdict]) -> Verdict:
    values = {name: value for verdict in verdicts for name, value in verdict.values.items()}
    return Verdict(values=values, note="; ".join(verdict.note for verdict in verdicts if verdict.note))
