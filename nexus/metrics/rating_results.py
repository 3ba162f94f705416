"""What the answers of a listening or viewing test say: means with intervals, significance, and who was not attending.

The unit of every test of significance is the item: several people's ratings of one item are not independent looks at a
system. Intervals resample raters and items both (the pigeonhole bootstrap, Owen 2007, Annals of Applied Statistics 1),
so they speak of other raters and other items of the same kind; with one rater they speak of that rater alone.
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from nexus.metrics.rating import ANCHOR, Answer, Role, Test, session
from nexus.metrics.rating_checks import failure

RESAMPLES = 2000
MOST_EXACT = 16  # items up to which every pattern of signs is tried
FLIPS = 100_000  # drawn patterns above that


@dataclass(frozen=True, kw_only=True)
class SystemResult:
    system: str
    role: Role
    mean: float
    low: float  # 95 % interval
    high: float
    n_ratings: int


@dataclass(frozen=True, kw_only=True)
class PairResult:
    """`first` against `second`: the mean difference (mos, mushra), or the share of choices for `first` (ab)."""

    first: str
    second: str
    value: float
    low: float  # 95 % interval
    high: float
    n: int  # items (mos, mushra) or choices (ab)
    p: float  # two-sided
    p_holm: float  # corrected for the number of pairs (Holm, 1979)


@dataclass(frozen=True, kw_only=True)
class Results:
    test: Test
    raters: tuple[str, ...]  # counted
    unfinished: tuple[str, ...]  # left out
    failed: Mapping[str, str]  # left out, with the reason
    systems: tuple[SystemResult, ...]  # none in ab
    pairs: tuple[PairResult, ...]


def results(test: Test, raters: Sequence[str], answers: Sequence[Answer]) -> Results:
    """Of all who finished and passed the attention checks.

    Raises:
        ValueError: nobody did.
    """
    by_rater = {rater: [answer for answer in answers if answer.rater == rater] for rater in raters}
    unfinished = [r for r, own in by_rater.items() if len({a.trial for a in own}) < len(session(test, r))]
    finished = {rater: own for rater, own in by_rater.items() if rater not in unfinished}
    reasons = {rater: failure(test, own) for rater, own in finished.items()}
    failed = {rater: reason for rater, reason in reasons.items() if reason is not None}
    counted = tuple(rater for rater in finished if rater not in failed)
    if not raters:
        raise ValueError("nobody has rated yet")
    if not counted:
        raise ValueError(
            f"no rater can be counted: {len(raters)} began, {len(unfinished)} have not finished, {len(failed)} failed "
            "the attention checks" + "".join(f"; {rater}: {reason}" for rater, reason in failed.items())
        )
    kept = [answer for rater in counted for answer in finished[rater] if answer.role != "repeat"]
    systems = () if test.kind == "ab" else tuple(_systems(test, counted, kept))
    pairs = _choices(test, kept) if test.kind == "ab" else _gaps(test, counted, kept)
    return Results(
        test=test, raters=counted, unfinished=tuple(unfinished), failed=failed, systems=systems, pairs=_holm(pairs)
    )


def table(raters: Sequence[str], items: Sequence[str], answers: Sequence[Answer], system: str) -> Float[ndarray, "R I"]:
    """Scores of one system by rater and item; NaN where there is none, the mean where there are several."""
    sums, counts = np.zeros((len(raters), len(items))), np.zeros((len(raters), len(items)))
    rows, columns = ({name: i for i, name in enumerate(names)} for names in (raters, items))
    for answer in answers:
        if answer.system == system:
            at = rows[answer.rater], columns[answer.item]
            sums[at] += answer.score
            counts[at] += 1
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)


def pigeonhole(scores: Float[ndarray, "R I"], seed: int = 0) -> tuple[float, float]:
    """95 % interval of the mean over raters and items resampled independently; NaN scores do not count."""
    rng = np.random.default_rng(seed)
    n_raters, n_items = scores.shape
    known = ~np.isnan(scores)
    raters = rng.multinomial(n_raters, np.full(n_raters, 1 / n_raters), RESAMPLES)  # [S, R], how often each is drawn
    items = rng.multinomial(n_items, np.full(n_items, 1 / n_items), RESAMPLES)  # [S, I]
    sums = np.einsum("sr,ri,si->s", raters, np.where(known, scores, 0), items, optimize=True)
    counts = np.einsum("sr,ri,si->s", raters, known.astype(float), items, optimize=True)
    low, high = np.percentile(sums[counts > 0] / counts[counts > 0], [2.5, 97.5])
    return float(low), float(high)


def sign_flip(differences: Float[ndarray, " N"]) -> float:
    """Two-sided p of a mean of paired differences, if each could as well have had the other sign (Fisher, 1935).

    Exact up to 16 differences, so never below 2 / 2^N; above that from 100 000 drawn patterns of signs.
    """
    n = len(differences)
    if n <= MOST_EXACT:
        signs = 1 - 2 * ((np.arange(2**n)[:, None] >> np.arange(n)) & 1)
        sums = np.abs(signs @ differences)
        return float(np.mean(sums >= abs(differences.sum()) - 1e-9))
    rng = np.random.default_rng(0)
    reached = 0
    for _ in range(10):
        signs = 1.0 - 2.0 * rng.integers(2, size=(FLIPS // 10, n))
        reached += int((np.abs(signs @ differences) >= abs(differences.sum()) - 1e-9).sum())
    return (reached + 1) / (FLIPS + 1)


def _systems(test: Test, raters: Sequence[str], answers: Sequence[Answer]) -> list[SystemResult]:
    """The rated systems, best first, then the checks."""
    found = []
    for system, role in [*((s, "rated") for s in test.rated), (test.reference, "reference"), (ANCHOR, "anchor")]:
        own = [answer for answer in answers if answer.system == system and answer.role == role]
        if system is None or not own:
            continue
        scores = table(raters, test.items, own, system)
        low, high = pigeonhole(scores)
        mean = float(np.nanmean(scores))
        found.append(SystemResult(system=system, role=role, mean=mean, low=low, high=high, n_ratings=len(own)))
    return sorted(found, key=lambda r: (r.role != "rated", -r.mean))


def _gaps(test: Test, raters: Sequence[str], answers: Sequence[Answer]) -> list[PairResult]:
    rated = [answer for answer in answers if answer.role == "rated"]
    scores = {system: table(raters, test.items, rated, system) for system in test.rated}
    pairs = []
    for a, b in itertools.combinations(test.rated, 2):
        gap = scores[a] - scores[b]
        by_item = gap.mean(0)  # [I]; whoever finished rated everything
        low, high = pigeonhole(gap)
        p = sign_flip(by_item)
        pairs.append(
            PairResult(
                first=a, second=b, value=float(by_item.mean()), low=low, high=high, n=len(by_item), p=p, p_holm=p
            )
        )
    return pairs


def _choices(test: Test, answers: Sequence[Answer]) -> list[PairResult]:
    """Exact binomial tests against even odds, and Wilson's intervals; every choice counts as one throw."""
    from scipy.stats import binomtest

    trials: dict[tuple[str, int], dict[str, float]] = {}
    for answer in answers:
        if answer.role == "rated":
            trials.setdefault((answer.rater, answer.trial), {})[answer.system] = answer.score
    pairs = []
    for a, b in itertools.combinations(test.systems, 2):
        choices = [scores[a] for scores in trials.values() if set(scores) == {a, b}]
        wins = int(sum(choices))
        throw = binomtest(wins, len(choices), 0.5)
        low, high = throw.proportion_ci(0.95, "wilson")
        share, p = wins / len(choices), float(throw.pvalue)
        pairs.append(
            PairResult(first=a, second=b, value=share, low=float(low), high=float(high), n=len(choices), p=p, p_holm=p)
        )
    return pairs


def _holm(pairs: Sequence[PairResult]) -> tuple[PairResult, ...]:
    """Holm's step-down correction: the smallest p times the number of pairs, the next times one less, never falling."""
    corrected, reached = {}, 0.0
    for rank, index in enumerate(sorted(range(len(pairs)), key=lambda i: pairs[i].p)):
        reached = max(reached, min(1.0, pairs[index].p * (len(pairs) - rank)))
        corrected[index] = reached
    return tuple(PairResult(**{**vars(pair), "p_holm": corrected[index]}) for index, pair in enumerate(pairs))
