"""Listening and viewing tests: who is asked what, what the answers say, who is left out, what is kept."""

import itertools
import sqlite3
from dataclasses import replace

import numpy as np
import pytest

from nexus.media import Audio, Image, Video
from nexus.metrics.anchors import coarse, low_passed, noisy, write_anchor
from nexus.metrics.rating import ANCHOR, Answer, Test, n_checks, session
from nexus.metrics.rating_results import _holm, pigeonhole, results, sign_flip, table
from nexus.metrics.rating_set import read_set
from nexus.metrics.rating_store import RatingStore

RATE = 16_000
ITEMS = ("1.wav", "2.wav", "3.wav", "4.wav", "5.wav")


def make_test(kind="mos", systems=("a", "b", "natural"), reference=None, **kwargs):
    reference = "natural" if kind == "mushra" else reference
    settings = {"items": ITEMS, "question": "How good?", "seed": 0} | kwargs
    return Test(kind=kind, systems=systems, reference=reference, **settings)


def respond(test, rater, grade):
    """Answers of a rater who gives `grade(stimulus, trial)` everywhere."""
    return [
        Answer(rater=rater, trial=i, system=s.system, item=s.item, role=s.role, score=float(grade(s, trial)))
        for i, trial in enumerate(session(test, rater))
        for s in trial.stimuli
    ]


def careful(best):
    """Grades for mos: the anchor 1, `best` 5, others 3."""
    return lambda s, _: 1 if s.system == ANCHOR else 5 if s.system == best else 3


# -- the session


@pytest.mark.parametrize("kind", ["mos", "mushra", "ab"])
def test_sessions_are_repeatable_and_differ_by_rater_and_seed(kind):
    test = make_test(kind)
    assert session(test, "ann") == session(test, "ann")
    assert session(test, "ann") != session(test, "bob") != session(replace(test, seed=1), "bob")


def test_mos_asks_every_clip_once_and_some_again_later():
    test = make_test()
    for rater in ("ann", "bob", "cy", "dee"):
        trials = [trial.stimuli[0] for trial in session(test, rater)]
        rated = [(s.system, s.item) for s in trials if s.role == "rated"]
        assert sorted(rated) == sorted(itertools.product(test.systems, test.items))
        assert sum(s.role == "anchor" for s in trials) == n_checks(15) == 3
        repeats = [i for i, s in enumerate(trials) if s.role == "repeat"]
        assert len(repeats) == 3
        for i in repeats:
            first = next(j for j, s in enumerate(trials) if (s.system, s.item) == (trials[i].system, trials[i].item))
            assert trials[first].role == "rated" and i - first >= 2


def test_mushra_hides_reference_and_anchor_among_the_systems():
    for trial in session(make_test("mushra"), "ann"):
        assert sorted((s.system, s.role, s.source) for s in trial.stimuli) == [
            ("a", "rated", "a"),
            ("anchor", "anchor", "natural"),
            ("b", "rated", "b"),
            ("natural", "reference", "natural"),
        ]
        assert len({s.item for s in trial.stimuli}) == 1
    places = {[s.system for s in t.stimuli].index("natural") for r in "xyz" for t in session(make_test("mushra"), r)}
    assert len(places) > 2


def test_ab_asks_every_pair_on_both_sides():
    test = make_test("ab")
    trials = [trial.stimuli for rater in "abcdefgh" for trial in session(test, rater)]
    pairs = [t for t in trials if t[0].role == t[1].role == "rated"]
    assert len(pairs) == 8 * 3 * 5 and all(one.item == other.item for one, other in trials)
    assert {(one.system, other.system) for one, other in pairs} == set(itertools.permutations(test.systems, 2))
    checks = [t for t in trials if "anchor" in (t[0].role, t[1].role)]
    assert len(checks) == 8 * 3 and {t[0].role for t in checks} == {"anchor", "reference"}


def test_n_checks_grows_with_the_session():
    assert [n_checks(n) for n in (1, 30, 31, 100)] == [3, 3, 4, 10]
    tiny = make_test(systems=("a", "b"), items=("1.wav",))
    assert len(session(tiny, "ann")) == 2 + 3 + sum(t.stimuli[0].role == "repeat" for t in session(tiny, "ann"))
    assert any(t.stimuli[0].role == "repeat" for t in session(tiny, "ann"))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"systems": ("a",)}, "two systems or more, got a"),
        ({"items": ()}, "at least one item"),
        ({"systems": ("a", "anchor")}, "names the degraded check"),
        ({"reference": "c"}, "'c' is not among a, b, natural"),
        ({"kind": "mushra", "reference": None}, "--reference"),
        ({"kind": "mushra", "systems": ("a", "natural"), "reference": "natural"}, "two systems or more, got a"),
        ({"kind": "mushra", "systems": (*"abcdefghijk", "natural"), "reference": "natural"}, "up to 10 systems"),
    ],
)
def test_impossible_tests_are_refused(changes, words):
    with pytest.raises(ValueError, match=words):
        replace(make_test(), **changes)


# -- statistics


def test_sign_flip_is_exact_on_small_cases():
    assert sign_flip(np.array([1.0, 1.0, 1.0])) == 2 / 8  # only all plus and all minus reach 3
    assert sign_flip(np.array([1.0, 2.0, -1.0])) == 6 / 8  # |sum| >= 2: 4, 2, 2 and their mirrors
    assert sign_flip(np.array([0.0, 0.0])) == 1.0
    many = np.full(40, 0.5)
    assert sign_flip(many) == 1 / 100_001  # drawn patterns, none of which is all of one sign
    mixed = np.random.default_rng(1).normal(0.4, 1, 18)
    assert sign_flip(mixed) == pytest.approx(sign_flip_all(mixed), abs=0.005)


def sign_flip_all(values):
    sums = np.zeros(1)
    for value in values:
        sums = np.concatenate([sums + value, sums - value])
    return np.mean(np.abs(sums) >= abs(values.sum()) - 1e-9)


def test_pigeonhole_intervals():
    assert pigeonhole(np.full((3, 4), 2.5)) == (2.5, 2.5)
    assert pigeonhole(np.array([[1.0, 5.0]])) == (1.0, 5.0)  # one rater, two items: means 1, 3, 5 at 1/4, 1/2, 1/4
    scores = np.random.default_rng(0).normal(3, 1, (10, 40))
    low, high = pigeonhole(scores)
    assert low < scores.mean() < high and 0.1 < high - low < 0.6
    raters_differ = scores * 0.01 + np.linspace(1, 5, 10)[:, None]
    low, high = pigeonhole(raters_differ)
    assert high - low > 1  # which ignoring the raters would hide
    scores[0, :39] = np.nan
    assert np.isfinite(pigeonhole(scores)).all()


def test_holm_by_hand():
    test = make_test(systems=("a", "b", "c"))
    found = results(test, ["ann"], respond(test, "ann", careful("a"))).pairs
    given = [replace(pair, p=p) for pair, p in zip(found, (0.04, 0.01, 0.03), strict=True)]
    assert [pair.p_holm for pair in _holm(given)] == pytest.approx([0.06, 0.03, 0.06])


def test_mos_results():
    test = make_test()
    answers = respond(test, "ann", careful("a")) + respond(test, "bob", careful("a"))
    found = results(test, ["ann", "bob"], answers)
    assert [(s.system, s.role, s.mean, s.n_ratings) for s in found.systems] == [
        ("a", "rated", 5.0, 10), ("b", "rated", 3.0, 10), ("natural", "rated", 3.0, 10), ("anchor", "anchor", 1.0, 6)
    ]  # fmt: skip
    first = found.pairs[0]
    assert (first.first, first.second, first.value, first.low, first.high, first.n) == ("a", "b", 2.0, 2.0, 2.0, 5)
    assert first.p == 2 / 32 and first.p_holm == 6 / 32 and found.pairs[2].p == 1.0
    assert found.raters == ("ann", "bob") and not found.failed and not found.unfinished


def test_results_of_nobody():
    with pytest.raises(ValueError, match="nobody has rated yet"):
        results(make_test(), [], [])


def test_a_table_holds_means_and_gaps():
    answers = [
        Answer(rater="r", trial=i, system="a", item=item, role="rated", score=score)
        for i, (item, score) in enumerate([("x", 1.0), ("x", 3.0), ("y", 4.0)])
    ]
    np.testing.assert_array_equal(table(["r", "s"], ["x", "y"], answers, "a"), [[2, 4], [np.nan, np.nan]])


def test_ab_results_are_binomial():
    test = make_test("ab", systems=("a", "b"), items=tuple(f"{i}.wav" for i in range(10)))
    lost = {"3.wav"}

    def choose(s, trial):
        if "anchor" in {x.role for x in trial.stimuli}:
            return s.role != "anchor"
        return (s.system == "a") == (s.item not in lost)

    (pair,) = results(test, ["ann"], respond(test, "ann", choose)).pairs
    assert (pair.first, pair.value, pair.n) == ("a", 0.9, 10)
    assert pair.p == pytest.approx(22 / 1024)  # 2 (1 + 10) of 2^10
    assert (pair.low, pair.high) == pytest.approx((0.5958, 0.9821), abs=1e-4)  # Wilson's interval of 9 of 10


def test_mushra_results_keep_the_checks_apart():
    test = make_test("mushra")
    grades = {"natural": 100, "a": 80, "b": 60, "anchor": 20}
    found = results(test, ["ann"], respond(test, "ann", lambda s, _: grades[s.system]))
    assert [(s.system, s.role, s.mean) for s in found.systems] == [
        ("a", "rated", 80.0), ("b", "rated", 60.0), ("natural", "reference", 100.0), ("anchor", "anchor", 20.0)
    ]  # fmt: skip
    assert [(p.first, p.second, p.value) for p in found.pairs] == [("a", "b", 20.0)]


# -- attention


@pytest.mark.parametrize(
    ("kind", "grade", "words"),
    [
        ("mos", lambda s, _: 3, "degraded clips were graded 3.0 on average, the others 3.0"),
        ("mos", lambda s, _: {"anchor": 1, "repeat": 5}.get(s.role, 2), "3.0 apart"),
        ("mushra", lambda s, _: 50, "under 90 on 5 of 5"),
        ("mushra", lambda s, _: 100, "the anchor got 100"),
        ("ab", lambda s, _: s.role == "anchor", "preferred in 3 of 3"),
    ],
)
def test_who_does_not_attend_is_left_out_and_named(kind, grade, words):
    test = make_test(kind)
    answers = respond(test, "eve", grade)
    with pytest.raises(ValueError, match=words):
        results(test, ["eve"], answers)
    good = {
        "mos": careful("a"),
        "mushra": lambda s, _: {"natural": 95, "anchor": 10}.get(s.system, 50),
        "ab": lambda s, t: s.role == "reference" or (s.role == "rated" and s is t.stimuli[0]),
    }[kind]
    half = respond(test, "hal", good)[:4]
    found = results(test, ["ann", "eve", "hal"], answers + respond(test, "ann", good) + half)
    assert found.raters == ("ann",) and found.unfinished == ("hal",) and words in found.failed["eve"]
    alone = results(test, ["ann"], respond(test, "ann", good))
    assert (found.systems, found.pairs) == (alone.systems, alone.pairs)


def test_one_slip_on_the_hidden_reference_is_forgiven_in_seven():
    test = make_test("mushra", items=tuple(f"{i}.wav" for i in range(7)))

    def slip(items):
        return lambda s, _: 80 if s.role == "reference" and s.item in items else {"natural": 95}.get(s.system, 40)

    assert results(test, ["ann"], respond(test, "ann", slip({"0.wav"}))).raters == ("ann",)
    with pytest.raises(ValueError, match="2 of 7"):
        results(test, ["ann"], respond(test, "ann", slip({"0.wav", "1.wav"})))


# -- the file


def test_a_store_goes_on_where_it_was(tmp_path):
    path, test = tmp_path / "ratings.sqlite", make_test()
    assert RatingStore(path).test() is None and not path.exists()
    RatingStore(path).begin(test, {"a/1.wav": "0"})
    RatingStore(path).join("ann")
    trials = session(test, "ann")
    for i in range(3):
        assert RatingStore(path).done("ann") == i
        assert RatingStore(path).answer("ann", i, trials[i], [i + 1])
    assert not RatingStore(path).answer("ann", 1, trials[1], [5])  # a reload changes nothing
    again = RatingStore(path)
    again.begin(test, {"a/1.wav": "0"})
    again.join("ann")
    assert again.test() == test and again.raters() == ("ann",) and again.done("ann") == 3
    assert [a.score for a in again.answers()] == [1.0, 2.0, 3.0]
    assert [(a.system, a.item, a.role) for a in again.answers()] == [
        (s.system, s.item, s.role) for t in trials[:3] for s in t.stimuli
    ]
    with pytest.raises(ValueError, match="needs 1 scores, got 2"):
        again.answer("ann", 3, trials[3], [1, 2])


def test_a_store_refuses_another_test_and_other_media(tmp_path):
    store = RatingStore(tmp_path / "ratings.sqlite")
    store.begin(make_test(), {"a/1.wav": "0"})
    with pytest.raises(ValueError, match="a test of other kind, seed"):
        store.begin(make_test("ab", seed=3), {"a/1.wav": "0"})
    with pytest.raises(ValueError, match=r"1 files have changed since the test began, such as a/1\.wav"):
        store.begin(make_test(), {"a/1.wav": "1"})


def test_a_store_that_is_none(tmp_path):
    path = tmp_path / "ratings.sqlite"
    path.write_bytes(b"not a database, and longer than a header of SQLite would be" * 20)
    with pytest.raises(ValueError, match="not a file of ratings, or is damaged"):
        RatingStore(path).test()
    path.unlink()
    sqlite3.connect(path).close()
    assert RatingStore(path).test() is None
    with pytest.raises(OSError, match="unable to open"):
        RatingStore(tmp_path / "no" / "x.sqlite").begin(make_test(), {})


# -- the folder


def tone(path, seconds=0.2, amplitude=0.3):
    path.parent.mkdir(exist_ok=True)
    time = np.arange(round(seconds * RATE)) / RATE
    Audio((amplitude * np.sin(2 * np.pi * 440 * time)).astype(np.float32), RATE).save(path)


@pytest.fixture
def folder(tmp_path):
    for system, item in itertools.product(("a", "b"), ("1.wav", "2.wav")):
        tone(tmp_path / system / item)
    return tmp_path


def test_a_set_is_read(folder):
    (folder / "a" / "1.wav.json").write_text("{}")
    (folder / ".hidden").mkdir()
    found = read_set(folder)
    assert (found.systems, found.items, found.medium, found.passed_over) == (("a", "b"), ("1.wav", "2.wav"), "sound", 1)
    assert sorted(found.digests) == ["a/1.wav", "a/2.wav", "b/1.wav", "b/2.wav"]


def test_sets_that_cannot_be_rated_are_refused_by_name(folder):
    tone(folder / "b" / "3.wav")
    tone(folder / "a" / "4.wav")
    with pytest.raises(ValueError, match=r"a lacks 3\.wav; b lacks 4\.wav"):
        read_set(folder)
    (folder / "b" / "3.wav").unlink()
    (folder / "a" / "4.wav").unlink()
    tone(folder / "b" / "1.wav", amplitude=0.0)
    (folder / "b" / "2.wav").write_bytes((folder / "a" / "2.wav").read_bytes()[:500])
    with pytest.raises(ValueError, match=r"2 of 4 files cannot be rated: .*1\.wav is silent; .*2\.wav is damaged"):
        read_set(folder)
    for system in ("a", "b"):
        Image(np.zeros((4, 4, 3), np.uint8)).save(folder / system / "p.png")
    with pytest.raises(ValueError, match="mixes picture and sound"):
        read_set(folder)
    with pytest.raises(ValueError, match="two systems or more, got none"):
        read_set(folder / "a")
    with pytest.raises(FileNotFoundError):
        read_set(folder / "c")
    with pytest.raises(NotADirectoryError):
        read_set(folder / "a" / "1.wav")


# -- anchors


def test_low_pass_and_noise():
    time = np.arange(RATE) / RATE
    low, high = (np.sin(2 * np.pi * f * time).astype(np.float32) * 0.3 for f in (1000, 6000))
    passed = low_passed(Audio(low + high, RATE)).samples[0]
    assert np.abs(passed - low)[1000:-1000].max() < 0.01
    narrow = Audio(low, 6000)
    assert low_passed(narrow) is narrow and low_passed(Audio.silence(1, RATE)).length == 1
    source = Audio(low, RATE)
    worse = noisy(source)
    assert np.std(worse.samples) == pytest.approx(np.std(low), rel=0.05) and worse.peak <= 1
    correlation = np.corrcoef(worse.samples[0], low)[0, 1]
    assert correlation == pytest.approx(np.sqrt(0.5), abs=0.03)  # as much noise as sound
    assert noisy(source) == worse


@pytest.mark.parametrize("name", ["x.wav", "x.opus", "x.png", "x.mp4", "x.gif"])
def test_anchors_are_files_of_the_same_format(tmp_path, name):
    frames = np.random.default_rng(0).integers(0, 255, (4, 16, 24, 3), np.uint8)
    source, to = tmp_path / name, tmp_path / f"worse-{name}"
    media = {"wav": Audio, "opus": Audio, "png": Image}.get(name[2:], Video)
    if media is Audio:
        tone(source)
    else:
        (Image(frames[0]) if media is Image else Video(frames, 8)).save(source)
    write_anchor(source, to, "noisy")
    before, after = media.load(source), media.load(to)
    if media is Audio:
        assert after.length == before.length and after != before
    else:
        assert (after.height, after.width) == (16, 24)
        pixels = (after.pixels if media is Image else after.frames[0]).astype(float)
        assert np.abs(np.diff(pixels, axis=1)).mean() < 0.3 * np.abs(np.diff(frames[0].astype(float), axis=1)).mean()
    assert coarse(np.full((3, 5, 3), 9, np.uint8)).shape == (3, 5, 3)
