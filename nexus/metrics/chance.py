"""What a judge gives when everything is held against the prompts of other items: a model must do better than that."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from nexus.metrics.figures import Figure
from nexus.metrics.judge import Judge, Sample, Verdict
from nexus.metrics.judging import judge_all

SHIFTS = 16  # other prompts for each item, at most


@dataclass(frozen=True, kw_only=True)
class Exchanged(Sample):
    """A sample under the prompts of others."""

    others: tuple[Sample, ...]


def other_prompts(samples: Sequence[Sample], judges: Sequence[Judge], *, seed: int) -> tuple[Figure, ...]:
    """Figures of each item's mean over up to 16 other prompts, evenly spread; samples have a field `asked`.

    Raises:
        ValueError: fewer than two items.
    """
    n = len(samples)
    if n < 2:
        raise ValueError(f"other prompts need at least 2 items, got {n}")
    shifts = np.unique(np.linspace(1, n - 1, min(n - 1, SHIFTS)).astype(int)).tolist()
    exchanged = []
    for i, sample in enumerate(samples):
        others = tuple(_under(sample, samples[(i + shift) % n]) for shift in shifts)
        exchanged.append(Exchanged(prompt=sample.prompt, made=sample.made, others=others))
    return judge_all(exchanged, [_averaged(judge) for judge in judges], seed=seed).figures


def _under(sample: Sample, other: Sample) -> Sample:
    return replace(sample, prompt=other.prompt, **{"asked": getattr(other, "asked")})  # noqa: B009


def _averaged(judge: Judge) -> Judge:
    def values(sample: Exchanged) -> Verdict:
        given = [judge.values(other).values for other in sample.others]
        return Verdict(values={m.name: _mean([values[m.name] for values in given]) for m in judge.measures})

    return replace(judge, values=values)


def _mean(values: Sequence[float]) -> float:
    """Of those that could be judged; NaN where none could."""
    known = [value for value in values if not np.isnan(value)]
    return float(np.mean(known)) if known else float("nan")
