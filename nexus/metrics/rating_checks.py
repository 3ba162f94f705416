"""Attention checks of a listening or viewing test: who is left out of its figures, and why."""

from collections.abc import Mapping, Sequence

from nexus.metrics.rating import Answer, Kind, Role, Test

MOST_APART = 1.0  # grades between the first and the second rating of a clip, on average
REFERENCE_LEAST, REFERENCE_SLACK = 90, 0.15  # ITU-R BS.1534-3: below 90 on more than 15 % of the items
MISSED_SHARE = 0.1  # of the checks of an ab test

RULES: Mapping[Kind, str] = {
    "mos": "some clips come twice and their grades may differ by at most 1 on average; some come degraded (sound with "
    "noise as loud as itself, MNRU of ITU-T P.810 at 0 dB; pictures at an eighth of their resolution) and must be "
    "graded lower on average than the rest",
    "mushra": "the hidden reference must get 90 or more on at least 85 % of the items (ITU-R BS.1534-3), and on "
    "average more than the anchor (sound low-passed at 3.5 kHz; pictures at an eighth of their resolution)",
    "ab": "in some pairs one side is the other degraded (sound with noise as loud as itself, MNRU of ITU-T P.810 at "
    "0 dB; pictures at an eighth of their resolution); it may be preferred in at most a tenth of them",
}


def failure(test: Test, answers: Sequence[Answer]) -> str | None:
    """Which check of `RULES` one rater's answers fail, with the numbers; None where they pass."""
    return {"mos": _mos, "mushra": _mushra, "ab": _ab}[test.kind](answers)


def _scores(answers: Sequence[Answer], role: Role) -> list[float]:
    return [answer.score for answer in answers if answer.role == role]


def _mean(scores: Sequence[float]) -> float:
    return sum(scores) / len(scores)


def _mos(answers: Sequence[Answer]) -> str | None:
    first = {(a.system, a.item): a.score for a in answers if a.role == "rated"}
    apart = _mean([abs(a.score - first[a.system, a.item]) for a in answers if a.role == "repeat"])
    if apart > MOST_APART:
        return f"clips heard twice were graded {apart:.1f} apart on average, at most {MOST_APART:g} is allowed"
    anchor, rest = _mean(_scores(answers, "anchor")), _mean(_scores(answers, "rated"))
    if anchor >= rest:
        return f"degraded clips were graded {anchor:.1f} on average, the others {rest:.1f}"
    return None


def _mushra(answers: Sequence[Answer]) -> str | None:
    hidden = _scores(answers, "reference")
    missed = sum(score < REFERENCE_LEAST for score in hidden)
    if missed > REFERENCE_SLACK * len(hidden):
        return f"the hidden reference got under {REFERENCE_LEAST} on {missed} of {len(hidden)} items"
    anchor, reference = _mean(_scores(answers, "anchor")), _mean(hidden)
    if anchor >= reference:
        return f"the anchor got {anchor:.0f} on average, the hidden reference {reference:.0f}"
    return None


def _ab(answers: Sequence[Answer]) -> str | None:
    preferred = _scores(answers, "anchor")
    if sum(preferred) > MISSED_SHARE * len(preferred):
        return f"the degraded side was preferred in {sum(preferred):.0f} of {len(preferred)} checks"
    return None
