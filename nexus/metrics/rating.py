"""Listening and viewing tests: what a rater is given, in which order, and under which disguise.

- mos: one clip at a time on five grades (absolute category rating, ITU-T P.800, annex B);
- mushra: every system's version of an item side by side on 0 to 100, with the reference shown, the reference again in
  hiding and a low anchor (ITU-R BS.1534-3);
- ab: two systems' versions of an item, and which is better.

Each rater gets an order of their own, drawn from the test's seed and the rater's name: it need not be kept to go on.
"""

import hashlib
import itertools
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

T = TypeVar("T")
Kind = Literal["mos", "mushra", "ab"]
Role = Literal["rated", "repeat", "anchor", "reference"]

KINDS: tuple[Kind, ...] = ("mos", "mushra", "ab")
GRADES = ("bad", "poor", "fair", "good", "excellent")  # 1 to 5, ITU-T P.800 annex B
BANDS = ("bad", "poor", "fair", "good", "excellent")  # fifths of 0 to 100, ITU-R BS.1534-3
QUESTIONS = {
    "mos": "How good is this?",
    "mushra": "How good is each, compared with the reference?",
    "ab": "Which is better?",
}
FEWEST_CHECKS = 3  # of each sort in a session, so that luck alone rarely passes
CHECK_SHARE = 10  # one check in so many trials
MOST_AT_ONCE = 12  # stimuli of a mushra page, ITU-R BS.1534-3
ANCHOR = "anchor"  # stands for a system in the answers; no folder may be called so


@dataclass(frozen=True, kw_only=True)
class Test:
    """What is rated: every system has every item. `reference` is one of the systems, or None."""

    __test__ = False  # pytest takes a class of this name for tests

    kind: Kind
    systems: tuple[str, ...]
    items: tuple[str, ...]  # file names
    reference: str | None
    question: str
    seed: int

    def __post_init__(self):
        if len(self.rated) < 2:
            raise ValueError(f"a test compares two systems or more, got {', '.join(self.rated) or 'none'}")
        if not self.items:
            raise ValueError("a test needs at least one item, got none")
        if ANCHOR in self.systems:
            raise ValueError(f"{ANCHOR!r} names the degraded check; call the system otherwise")
        if self.reference is not None and self.reference not in self.systems:
            raise ValueError(f"the reference {self.reference!r} is not among {', '.join(self.systems)}")
        if self.kind == "mushra" and self.reference is None:
            raise ValueError("mushra compares with a reference: name one of the folders with --reference")
        if self.kind == "mushra" and len(self.rated) + 2 > MOST_AT_ONCE:
            most = MOST_AT_ONCE - 2
            raise ValueError(f"mushra shows up to {most} systems at once, got {len(self.rated)}; mos and ab take more")

    @property
    def rated(self) -> tuple[str, ...]:
        """The systems whose figures are wanted: in mushra the reference is a check, elsewhere a system like any."""
        return tuple(s for s in self.systems if self.kind != "mushra" or s != self.reference)


@dataclass(frozen=True)
class Stimulus:
    system: str  # ANCHOR: the item of `source` degraded on purpose
    item: str
    role: Role
    source: str  # the folder whose file is played


@dataclass(frozen=True)
class Trial:
    """One page: its stimuli in the order shown. A mos trial has one, an ab trial two."""

    stimuli: tuple[Stimulus, ...]


@dataclass(frozen=True, kw_only=True)
class Answer:
    """One score: a grade 1 to 5 (mos), 0 to 100 (mushra), or 1 for the chosen side and 0 for the other (ab)."""

    rater: str
    trial: int
    system: str
    item: str
    role: Role
    score: float


def session(test: Test, rater: str) -> tuple[Trial, ...]:
    """Everything one rater is asked, in order; the same again for the same test and name."""
    digest = hashlib.sha256(f"{test.seed}\0{test.kind}\0{rater}".encode("utf-8", "surrogatepass")).digest()
    rng = random.Random(digest)
    return {"mos": _mos, "mushra": _mushra, "ab": _ab}[test.kind](test, rng)


def n_checks(n_trials: int) -> int:
    """How many checks of a sort go among so many trials."""
    return max(FEWEST_CHECKS, -(-n_trials // CHECK_SHARE))


def _mos(test: Test, rng: random.Random) -> tuple[Trial, ...]:
    """All clips once; some again later, never right after the first time; some degraded."""
    clips = [Stimulus(system, item, "rated", system) for system in test.systems for item in test.items]
    trials = _spread([Trial((clip,)) for clip in clips], rng)
    anchors = [Trial((_anchor(test, clip.item, clip.source),)) for clip in _some(clips, n_checks(len(clips)), rng)]
    _scatter(trials, anchors, rng)
    early = [trial.stimuli[0] for trial in trials[: len(trials) // 2 + 1] if trial.stimuli[0].role == "rated"]
    for clip in rng.sample(early, min(n_checks(len(clips)), len(early))):
        first = trials.index(Trial((clip,)))
        again = Trial((Stimulus(clip.system, clip.item, "repeat", clip.source),))
        trials.insert(rng.randint(first + 2, len(trials)), again)
    return tuple(trials)


def _mushra(test: Test, rng: random.Random) -> tuple[Trial, ...]:
    assert test.reference is not None
    trials = []
    for item in rng.sample(test.items, len(test.items)):
        stimuli = [Stimulus(system, item, "rated", system) for system in test.rated]
        stimuli.append(Stimulus(test.reference, item, "reference", test.reference))
        stimuli.append(_anchor(test, item, test.reference))
        rng.shuffle(stimuli)
        trials.append(Trial(tuple(stimuli)))
    return tuple(trials)


def _ab(test: Test, rng: random.Random) -> tuple[Trial, ...]:
    """Every pair of systems on every item, sides drawn; some pairs of a clip with itself degraded."""
    pairs = [(a, b, item) for a, b in itertools.combinations(test.systems, 2) for item in test.items]
    trials = []
    for a, b, item in pairs:
        sides = [Stimulus(a, item, "rated", a), Stimulus(b, item, "rated", b)]
        rng.shuffle(sides)
        trials.append(Trial(tuple(sides)))
    trials = _spread(trials, rng)
    clips = [(system, item) for system in test.systems for item in test.items]
    checks = []
    for system, item in _some(clips, n_checks(len(pairs)), rng):
        source = test.reference or system
        sides = [Stimulus(source, item, "reference", source), _anchor(test, item, source)]
        rng.shuffle(sides)
        checks.append(Trial(tuple(sides)))
    _scatter(trials, checks, rng)
    return tuple(trials)


def _anchor(test: Test, item: str, source: str) -> Stimulus:
    return Stimulus(ANCHOR, item, "anchor", test.reference or source)


def _some(of: Sequence[T], n: int, rng: random.Random) -> list[T]:
    """`n` drawn, each once before any comes twice."""
    drawn: list[T] = []
    while len(drawn) < n:
        drawn += rng.sample(of, min(len(of), n - len(drawn)))
    return drawn


def _spread(trials: list[Trial], rng: random.Random) -> list[Trial]:
    """Shuffled, with the same item in neighbouring trials as rarely as a few redraws can make it."""

    def neighbours(order: list[Trial]) -> int:
        return sum(a.stimuli[0].item == b.stimuli[0].item for a, b in itertools.pairwise(order))

    return min((rng.sample(trials, len(trials)) for _ in range(20)), key=neighbours)


def _scatter(trials: list[Trial], checks: list[Trial], rng: random.Random) -> None:
    """Puts the checks at drawn places, not at the very first, which is for getting used to the page."""
    for check in checks:
        trials.insert(rng.randint(1, len(trials)), check)
