"""Prompts as users of Stable Diffusion write them: weighted words, and more than the text encoder reads at once.

`(word)` counts 1.1 times, `[word]` 1 / 1.1 times, `(word:1.3)` 1.3 times; brackets nest and then multiply. A bracket
after a backslash, or without its partner, is itself. Long prompts are read in windows, cut between words.
"""

import re
from collections.abc import Iterable, Sequence

MORE = 1.1
_WEIGHT = re.compile(r":\s*([+-]?(?:\d+\.?\d*|\.\d+))\s*$")
_PIECES = re.compile(r"\\[()\[\]\\]|[()\[\]]|[^()\[\]\\]+|\\")
_CLOSES = {")": "(", "]": "["}

Spans = list[tuple[str, float]]
Weighted = list[tuple[int, float]]  # token ids and how much each counts


def parse(prompt: str) -> Spans:
    """The prompt's text in spans of one weight; joined, what is left when brackets that weigh are taken out."""
    texts: list[str] = []
    weights: list[float] = []
    literal: list[bool] = []  # came after a backslash: neither bracket nor weight
    opened: list[int] = []  # where in `texts` brackets are that wait for their partner
    for piece in _PIECES.findall(prompt):
        if piece in _CLOSES and (start := _partner(texts, opened, _CLOSES[piece])) is not None:
            factor = 1 / MORE if piece == "]" else _take_weight(texts, literal, start)
            texts[start] = ""
            weights[start:] = [weight * factor for weight in weights[start:]]
            continue
        if piece in "([":
            opened.append(len(texts))
        literal.append(len(piece) == 2 and piece[0] == "\\")
        texts.append(piece[1:] if literal[-1] else piece)
        weights.append(1.0)
    return _joined(zip(texts, weights, strict=True))


def _partner(texts: list[str], opened: list[int], bracket: str) -> int | None:
    """Where the bracket is that this one closes; those opened after it stay themselves."""
    for i in reversed(range(len(opened))):
        if texts[opened[i]] == bracket:
            start = opened[i]
            del opened[i:]
            return start
    return None


def _take_weight(texts: list[str], literal: list[bool], start: int) -> float:
    """The number after the last colon in a round bracket, which is then taken out of its text."""
    match = None if literal[-1] or len(texts) - 1 == start else _WEIGHT.search(texts[-1])
    if match is None:
        return MORE
    texts[-1] = texts[-1][: match.start()]
    return float(match[1])


def _joined(spans: Iterable[tuple[str, float]]) -> Spans:
    joined: Spans = []
    for text, weight in spans:
        if not text:
            continue
        if joined and joined[-1][1] == weight:
            joined[-1] = (joined[-1][0] + text, weight)
        else:
            joined.append((text, weight))
    return joined


def windows(words: Sequence[Weighted], room: int) -> list[Weighted]:
    """Words, each some tokens, in windows of at most `room` tokens; at least one, and empty only if there are none.

    A word that fits a window is never cut.
    """
    filled: list[Weighted] = [[]]
    for word in words:
        if len(filled[-1]) + len(word) > room and filled[-1]:
            filled.append([])
        for start in range(0, len(word), room):
            if start:
                filled.append([])
            filled[-1].extend(word[start : start + room])
    return filled
