"""Arithmetic coding: what goes in comes out, in as many bits as the symbols' information; packing by hand."""

import math

import numpy as np
import pytest
import torch

from nexus.codecs.arithmetic import ArithmeticDecoder, ArithmeticEncoder, cumulative_widths, pack, unpack


def coded(symbols: list[int], widths: list[list[int]]) -> bytes:
    encoder = ArithmeticEncoder()
    for symbol, cumulative in zip(symbols, widths, strict=True):
        encoder.push(symbol, cumulative)
    return encoder.finish()


def test_packing_by_hand():
    # 3 bits each, lowest first: 5 = 101, 3 = 011, 6 = 110 make 11 011 101 and, of the rest, 1.
    assert pack(np.array([5, 3, 6]), 3) == bytes([0b10011101, 0b1])
    assert unpack(bytes([0b10011101, 0b1]), 3, 3).tolist() == [5, 3, 6]


@pytest.mark.parametrize("bits", [3, 10])
@pytest.mark.parametrize("n", [65_535, 65_536, 200_003])
def test_packing_in_batches(bits, n):
    values = np.random.default_rng(n).integers(2**bits, size=n).astype(np.int32)
    data = pack(values, bits)
    assert len(data) == -(-n * bits // 8) and np.array_equal(unpack(data + b"more", bits, n), values)
    whole = np.packbits((values[:, None] >> np.arange(bits) & 1).astype(np.uint8).ravel(), bitorder="little")
    assert data == whole.tobytes()


@pytest.mark.parametrize("bits", [1, 4, 10, 16])
def test_packing_and_back(bits):
    values = np.random.default_rng(0).integers(2**bits, size=101)
    data = pack(values, bits)
    assert len(data) == math.ceil(101 * bits / 8)
    assert np.array_equal(unpack(data, bits, 101), values)


def test_widths_are_shares_of_two_to_the_24():
    widths = cumulative_widths(torch.tensor([0.5, 0.25, 0.25, 0.0]))
    assert widths.diff(prepend=torch.zeros(1, dtype=torch.int64)).tolist()[3] == 2
    assert widths[-1] <= 2**24
    torch.testing.assert_close(widths[:3] / 2**24, torch.tensor([0.5, 0.75, 1.0]), atol=1e-5, rtol=0)
    with pytest.raises(ValueError, match="at most"):
        cumulative_widths(torch.zeros(1).expand(2**23 + 1))


@pytest.mark.parametrize("sharpness", [0.0, 3.0, 30.0])
def test_symbols_come_back_and_cost_their_information(sharpness, rng):
    distributions = (torch.randn(400, 64, generator=rng) * sharpness).softmax(-1)
    symbols = torch.multinomial(distributions, 1, generator=rng)[:, 0].tolist()
    widths = cumulative_widths(distributions).tolist()
    data = coded(symbols, widths)
    decoder = ArithmeticDecoder(data)
    assert [decoder.pull(cumulative) for cumulative in widths] == symbols
    assert decoder.n_bytes == len(data)
    information = -sum(math.log2(p[s]) for p, s in zip(distributions.tolist(), symbols, strict=True))
    assert information - 1 <= 8 * len(data) <= 1.01 * information + 40


def test_unlikely_symbols_come_back_too(rng):
    distributions = (torch.randn(300, 64, generator=rng) * 100).softmax(-1)
    symbols = torch.randint(64, (300,), generator=rng).tolist()
    widths = cumulative_widths(distributions).tolist()
    decoder = ArithmeticDecoder(coded(symbols, widths))
    assert [decoder.pull(cumulative) for cumulative in widths] == symbols


def test_data_that_end_or_stand_for_nothing_are_told():
    widths = cumulative_widths(torch.full((8,), 0.125)).tolist()
    decoder = ArithmeticDecoder(coded([3] * 16, [widths] * 16)[:4])
    with pytest.raises(EOFError):
        [decoder.pull(widths) for _ in range(16)]
    with pytest.raises(ValueError, match="no symbol"):
        ArithmeticDecoder(b"\xff" * 8).pull([2, 4])
