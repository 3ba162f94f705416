"""Weighted prompts and windows, worked by hand."""

import pytest

from nexus.text.prompts import parse, windows


@pytest.mark.parametrize(
    ("prompt", "spans"),
    [
        ("a red boat", [("a red boat", 1.0)]),
        ("", []),
        ("a (red) boat", [("a ", 1.0), ("red", 1.1), (" boat", 1.0)]),
        ("a [red] boat", [("a ", 1.0), ("red", 1 / 1.1), (" boat", 1.0)]),
        ("a (red:1.3) boat", [("a ", 1.0), ("red", 1.3), (" boat", 1.0)]),
        ("(a (red:1.5) boat:0.5)", [("a ", 0.5), ("red", 0.75), (" boat", 0.5)]),
        ("((big)) whale", [("big", 1.1 * 1.1), (" whale", 1.0)]),
        ("([grey])", [("grey", 1.0)]),
        ("(at 10:30, a boat)", [("at 10:30, a boat", 1.1)]),
        ("(time: 10:1.2)", [("time: 10", 1.2)]),
        ("(sea: .5 )", [("sea", 0.5)]),
        ("[sea:1.5]", [("sea:1.5", 1 / 1.1)]),
        (r"a \(red\) boat \[on\] \\ sea", [("a (red) boat [on] \\ sea", 1.0)]),
        (r"(boat \(red\):1.2)", [("boat (red)", 1.2)]),
        (r"(smile :1.3\))", [("smile :1.3)", 1.1)]),
        ("sad :( face", [("sad :( face", 1.0)]),
        ("happy :) face", [("happy :) face", 1.0)]),
        ("(a [b) c]", [("a [b", 1.1), (" c]", 1.0)]),
        ("()(:1.5)", []),
    ],
)
def test_weights(prompt, spans):
    parsed = parse(prompt)
    assert [text for text, _ in parsed] == [text for text, _ in spans]
    assert [weight for _, weight in parsed] == pytest.approx([weight for _, weight in spans])


def words(*lengths):
    """Words of so many tokens, numbered."""
    return [[(10 * i + j, 1.0) for j in range(length)] for i, length in enumerate(lengths)]


def ids(filled):
    return [[token for token, _ in window] for window in filled]


def test_windows_are_cut_between_words():
    assert ids(windows(words(2, 1), 4)) == [[0, 1, 10]]
    assert ids(windows(words(2, 1, 2, 1), 4)) == [[0, 1, 10], [20, 21, 30]]
    assert ids(windows(words(2, 2, 1), 4)) == [[0, 1, 10, 11], [20]]
    assert windows([], 4) == [[]]


def test_a_word_longer_than_a_window_is_cut_and_nothing_is_lost():
    assert ids(windows(words(1, 9, 1), 4)) == [[0], [10, 11, 12, 13], [14, 15, 16, 17], [18, 20]]
    assert ids(windows(words(4, 8), 4)) == [[0, 1, 2, 3], [10, 11, 12, 13], [14, 15, 16, 17]]


def test_weights_stay_with_their_words():
    assert windows([[(1, 1.0)], [(2, 1.3), (3, 1.3)]], 2) == [[(1, 1.0)], [(2, 1.3), (3, 1.3)]]
