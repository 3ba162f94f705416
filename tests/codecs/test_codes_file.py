"""Files of codes: packed to the bit, the same bytes for the same codes, and refused when damaged."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save

from nexus.codecs.arithmetic import pack
from nexus.codecs.codes_file import Head, read_codes, write_codes
from nexus.codecs.long_sounds import CodedSound

FACTS = {"codec": "nexus/encodec-tiny", "weights_hash": "0123456789abcdef", "sample_rate": 24000}


def coded(codebook_size=1000, rows=2, n_codebooks=3, n_frames=7, side=None):
    codes = np.random.default_rng(0).integers(codebook_size, size=(rows, n_codebooks, n_frames), dtype=np.int32)
    return CodedSound(codes=codes, length=n_frames * 320 - 5, channels=rows, side=side or {})


@pytest.mark.parametrize("codebook_size", [2, 3, 1000, 1024, 1025])
def test_a_file_holds_what_was_written(codebook_size):
    sound = coded(codebook_size, side={"scales": np.array([[0.1, 2], [3, 4]], np.float32)})
    data = write_codes(sound, codebook_size=codebook_size, **FACTS)
    head, read = read_codes(data)
    assert np.array_equal(read.codes, sound.codes) and read.length == sound.length and read.channels == 2
    assert np.array_equal(read.side["scales"], sound.side["scales"])
    assert head == Head(
        codebook_size=codebook_size, length=sound.length, channels=2, n_rows=2, n_codebooks=3, n_frames=7, **FACTS
    )
    assert data == write_codes(read, codebook_size=codebook_size, **FACTS)


def test_a_code_costs_its_bits():
    size = [len(write_codes(coded(1024, 1, 8, n), codebook_size=1024, **FACTS)) for n in (8000, 16000)]
    assert abs(size[1] - size[0] - 8 * 8000 * 10 // 8) < 16  # a number in the head grows by digits


def test_codes_out_of_range_are_not_written():
    with pytest.raises(ValueError, match="codes must be 0 to 99"):
        write_codes(coded(1000), codebook_size=100, **FACTS)


def packed(codes):
    return np.frombuffer(pack(codes, 10), np.uint8)


def changed(**values):
    """A file whose head says otherwise than its codes."""
    head = {"version": 1, "codebook_size": 1000, "length": 2235, "channels": 2, "n_rows": 2, "n_codebooks": 3}
    head |= {"n_frames": 7, **FACTS, **values}
    head = {name: value for name, value in head.items() if value is not None}
    codes = packed(coded().codes.transpose(0, 2, 1).ravel())
    return save({"codes": codes}, {"nexus-codes": json.dumps(head)})


def test_the_changed_file_is_else_a_good_one():
    assert np.array_equal(read_codes(changed())[1].codes, coded().codes)


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"n_frames": 8}, "60 bytes of codes were announced, there are 53"),
        ({"n_frames": 10**12}, "bytes of codes were announced"),
        ({"n_rows": -1}, "n_rows must be a positive whole number"),
        ({"n_frames": 7.0}, "n_frames must be a whole number"),
        ({"length": True}, "length must be a whole number"),
        ({"codec": 5}, "codec must be words"),
        ({"codebook_size": 1 << 30}, "codebook_size must be 2 to"),
        ({"codebook_size": 600}, "codes must be 0 to 599"),
        ({"version": 2}, "another version"),
        ({"colour": "red"}, "its head holds"),
        ({"length": None}, "its head holds"),
    ],
)
def test_a_head_that_does_not_fit(values, sentence):
    with pytest.raises(ValueError, match=sentence):
        read_codes(changed(**values))


def test_other_files():
    for data in (b"", b"RIFF", b"\xff" * 100, save({"codes": np.zeros(3, np.uint8)}), save({}, {"nexus-codes": "[]"})):
        with pytest.raises(ValueError, match="not a file of codes"):
            read_codes(data)
    side = save({"codes": packed(coded().codes.ravel()), "scales": np.full((2, 1), np.nan, np.float32)})
    assert side  # a good safetensors file without a head
    with pytest.raises(ValueError, match="not a file of codes"):
        read_codes(side)


GOOD = write_codes(coded(side={"scales": np.ones((2, 3), np.float32)}), codebook_size=1000, **FACTS)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(st.integers(0, len(GOOD) - 1), st.integers(0, 255)), max_size=4), st.integers(0, len(GOOD)))
def test_damage_ends_in_a_sentence(changes, end):
    data = bytearray(GOOD)
    for place, value in changes:
        data[place] = value
    try:
        head, read = read_codes(bytes(data[:end]))
    except ValueError:
        return
    assert read.codes.shape == (head.n_rows, head.n_codebooks, head.n_frames) and read.codes.size < 100
