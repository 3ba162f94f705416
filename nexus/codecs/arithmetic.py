"""Arithmetic coding, bit for bit as in EnCodec's files (arXiv:2210.13438, section 3.3; facebookresearch/encodec, MIT).

Symbols narrow an interval of integers in proportion to their probabilities. Bits on which both ends agree are
settled and written; the interval grows by bits whenever it is narrower than 2^24. Numbers of fixed width (codes
without a language model) are packed beside it. Within a byte the first bit is the lowest.
"""

import math
from bisect import bisect_left
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int, Integer
from numpy import ndarray
from torch import Tensor

RANGE_BITS = 24
# Widths are rounded down from probabilities in steps of 1e-8, and are 2 at least: a symbol always has a number.
_STEP = 1e-8
_LEAST = 2
_BATCH = 1 << 16  # numbers packed at once, that bits need memory of a few only; a multiple of 8 ends with a whole byte
# Ends that straddle a power of two settle no bits; past this the original gives up too.
_MAX_OPEN_BITS = 62


def pack(values: Integer[ndarray, " n"], bits: int) -> bytes:
    """Numbers below 2^bits, lowest bit first; the last byte is filled up with zeros."""
    return b"".join(_packed(values[at : at + _BATCH], bits) for at in range(0, len(values), _BATCH))


def _packed(values: Integer[ndarray, " n"], bits: int) -> bytes:
    digits = values.astype(np.int64)[:, None] >> np.arange(bits) & 1
    return np.packbits(digits.astype(np.uint8).ravel(), bitorder="little").tobytes()


def unpack(data: bytes | memoryview, bits: int, n: int) -> Int[ndarray, " n"]:
    """The first `n` numbers of `pack`; `data` must hold at least n * bits bits."""
    values, whole = np.empty(n, np.int64), np.frombuffer(data, np.uint8)
    for at in range(0, n, _BATCH):
        part = whole[at * bits // 8 : (at + _BATCH) * bits // 8]
        digits = np.unpackbits(part, count=min(_BATCH, n - at) * bits, bitorder="little")
        values[at : at + _BATCH] = digits.reshape(-1, bits).astype(np.int64) @ (1 << np.arange(bits))
    return values


def cumulative_widths(probabilities: Float[Tensor, "*batch N"]) -> Int[Tensor, "*batch N"]:
    """Where each symbol's share of 2^24 ends; shares are at least 2 wide."""
    n, total = probabilities.shape[-1], 2**RANGE_BITS
    if _LEAST * n > total:
        raise ValueError(f"at most {total // _LEAST} symbols share 2^{RANGE_BITS} numbers, got {n}")
    rounded = (probabilities / _STEP).floor() * _STEP
    widths = ((1 - _LEAST * n / total) * total * rounded).floor().long() + _LEAST
    return widths.cumsum(-1)


class _Interval:
    """Integers low to high, of which the top bits that agree are settled and gone."""

    def __init__(self) -> None:
        self.low, self.high, self.open_bits = 0, 0, 0

    @property
    def scale(self) -> float:
        return (self.high - self.low + 1) / 2**RANGE_BITS

    @property
    def too_narrow(self) -> bool:
        return self.high - self.low + 1 < 2**RANGE_BITS

    def widen(self) -> None:
        self.low, self.high, self.open_bits = 2 * self.low, 2 * self.high + 1, self.open_bits + 1

    def part(self, symbol: int, cumulative: Sequence[int]) -> tuple[int, int]:
        """First and last integer of a symbol's part."""
        start = cumulative[symbol - 1] if symbol else 0
        first = self.low + math.ceil(start * self.scale)
        last = self.low + math.floor((cumulative[symbol] - 1) * self.scale)
        # Rounded shares may sum to one more than 2^24, where the original stops with an error.
        return first, min(last, 2**self.open_bits - 1)

    def settle(self) -> list[int]:
        """The top bits on which both ends agree, taken off."""
        bits = []
        while self.open_bits and (bit := self.low >> self.open_bits - 1) == self.high >> self.open_bits - 1:
            self.open_bits -= 1
            self.low -= bit << self.open_bits
            self.high -= bit << self.open_bits
            bits.append(bit)
        if self.open_bits > _MAX_OPEN_BITS:
            raise ValueError("the arithmetic code came to a point where no bit can be settled; the data are damaged")
        return bits


class ArithmeticEncoder:
    """Takes symbols with their distributions, gives bytes."""

    def __init__(self) -> None:
        self._interval = _Interval()
        self._bits: list[int] = []

    def push(self, symbol: int, cumulative: Sequence[int]) -> None:
        """Appends a symbol; `cumulative` is `cumulative_widths` of its distribution."""
        interval = self._interval
        while interval.too_narrow:
            interval.widen()
        interval.low, interval.high = interval.part(symbol, cumulative)
        self._bits += interval.settle()

    def finish(self) -> bytes:
        """All bytes; the encoder is spent."""
        interval = self._interval
        rest = [interval.low >> bit & 1 for bit in reversed(range(interval.open_bits))]
        return pack(np.array(self._bits + rest, np.int64), 1)


class ArithmeticDecoder:
    """Takes bytes, gives the symbols back when asked with the same distributions in the same order."""

    def __init__(self, data: bytes | memoryview) -> None:
        self._interval = _Interval()
        self._data, self._n_bits, self._current = data, 0, 0

    @property
    def n_bytes(self) -> int:
        """How many bytes have been used, the last maybe in part."""
        return -(-self._n_bits // 8)

    def pull(self, cumulative: Sequence[int]) -> int:
        """The next symbol.

        Raises:
            EOFError: the data end before it.
            ValueError: no encoder with these distributions writes such data.
        """
        interval = self._interval
        while interval.too_narrow:
            self._current = 2 * self._current + self._next_bit()
            interval.widen()
        offset, scale = self._current - interval.low, interval.scale
        symbol = bisect_left(cumulative, offset, key=lambda end: math.floor((end - 1) * scale))
        if symbol == len(cumulative) or self._current < (part := interval.part(symbol, cumulative))[0]:
            raise ValueError("the arithmetic code stands for no symbol: the data are damaged, or of another model")
        interval.low, interval.high = part
        interval.settle()
        self._current -= part[0] - interval.low  # the settled bits
        return symbol

    def _next_bit(self) -> int:
        place, self._n_bits = self._n_bits, self._n_bits + 1
        if place >> 3 >= len(self._data):
            raise EOFError
        return self._data[place >> 3] >> (place & 7) & 1
