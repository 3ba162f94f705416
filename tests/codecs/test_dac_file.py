""".dac files: as numpy itself writes and reads them, and what hostile ones meet."""

import io
import os
import pickle
import struct
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nexus.codecs.dac_file import DacFile, read_dac, write_dac
from nexus.codecs.data_pickle import read_data_pickle

FILE = DacFile(
    codes=np.random.default_rng(0).integers(0, 1024, (2, 3, 50)),
    chunk_length=20,
    original_length=12345,
    sample_rate=48000,
    channels=2,
    padding=False,
    loudness=-23.5,
)
DATA = write_dac(FILE)


def original(codes=None, metadata=None, **changes) -> bytes:
    """What the original's `np.save` of its table gives."""
    table = {
        "input_db": np.array([-23.5], np.float32),
        "original_length": 12345,
        "sample_rate": 48000,
        "chunk_length": 20,
        "channels": 2,
        "padding": False,
        "dac_version": "1.0.0",
    }
    table |= changes
    buffer = io.BytesIO()
    codes = FILE.codes.astype(np.uint16) if codes is None else codes
    np.save(buffer, {"codes": codes, "metadata": table if metadata is None else metadata})  # type: ignore[arg-type]
    return buffer.getvalue()


def numpy_file(content: bytes) -> bytes:
    """A pickle behind the header of a numpy file of one object."""
    return DATA[: DATA.index(b"\n") + 1] + content


def same(a: DacFile, b: DacFile) -> bool:
    return np.array_equal(a.codes, b.codes) and {k: v for k, v in vars(a).items() if k != "codes"} == {
        k: v for k, v in vars(b).items() if k != "codes"
    }


def test_numpy_reads_what_is_written_and_the_other_way_round():
    table = np.load(io.BytesIO(DATA), allow_pickle=True)[()]
    assert table["codes"].dtype == np.uint16
    assert np.array_equal(table["codes"], FILE.codes)
    assert table["metadata"].pop("input_db") == np.float32(-23.5)
    expected = {"original_length": 12345, "sample_rate": 48000, "chunk_length": 20, "channels": 2, "padding": False}
    assert table["metadata"] == expected | {"dac_version": "1.0.0"}
    assert original() == DATA
    assert same(read_dac(DATA), FILE)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_every_protocol(protocol):
    table = np.load(io.BytesIO(DATA), allow_pickle=True)
    content = pickle.dumps(table, protocol)
    if protocol < 3:  # bytes are pickled as a call there; numpy has not written it since Python 2
        with pytest.raises(ValueError, match=r"more than data \(the name _codecs\.encode\)"):
            read_dac(numpy_file(content))
    elif protocol == 5:
        with pytest.raises(ValueError, match="more than data"):
            read_dac(numpy_file(content))
    else:
        assert same(read_dac(numpy_file(content)), FILE)
        # numpy 1 called its modules otherwise
        old = content.replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
        old = old.replace(b"\x8c\x16numpy.core", b"\x8c\x15numpy.core")
        assert same(read_dac(numpy_file(old)), FILE)


def test_other_ways_to_say_the_same():
    scalars = original(input_db=np.float32(-23.5), sample_rate=np.int64(48000))
    assert same(read_dac(scalars), FILE)
    fortran = original(np.asfortranarray(FILE.codes.astype(np.uint16)))
    assert same(read_dac(fortran), FILE)
    assert same(read_dac(original(FILE.codes.astype(">i4"))), FILE)


class Exploit:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("place", ["codes", "metadata", "beside"])
def test_nothing_is_executed(tmp_path, place):
    evil = Exploit(tmp_path / "executed")
    contents = {
        "codes": lambda: original(np.array([evil], object)),
        "metadata": lambda: original(chunk_length=evil),
        "beside": lambda: numpy_file(pickle.dumps({"codes": evil})),
    }
    data = contents[place]()
    with pytest.raises(ValueError, match=r"more than data \(the name \w+\.mkdir\); it was not executed"):
        read_dac(data)
    assert not (tmp_path / "executed").exists()
    np.load(io.BytesIO(data), allow_pickle=True)  # as the original reads it
    assert (tmp_path / "executed").exists()


HUGE = {
    "a memo of 2^31 places": b"\x80\x04N" + b"r" + struct.pack("<I", 1 << 31) + b".",
    "bytes of 2^40": b"\x80\x04\x8e" + struct.pack("<Q", 1 << 40) + b"x.",
    "a frame of 2^60": b"\x80\x04\x95" + struct.pack("<Q", 1 << 60) + b"N.",
    "an array of 2^40": pickle.dumps(np.zeros(2), 4).replace(b"K\x00\x85", b"\x8a\x06\0\0\0\0\0\x01\x85"),
    "an array stretched by no strides": pickle.dumps(np.zeros((1, 2, 3), np.uint16), 4).replace(
        b"K\x01K\x02K\x03\x87", b"J\xff\xff\xff\x7fK\x02K\x03\x87"
    ),
    "tuples of tuples": b"\x80\x04)" + b"0)".join([b"\x94\x86"] * 2) + b"(" + b"h\x00" * 5000 + b"t.",
    "a number of a megabyte": b"\x80\x04\x8b" + struct.pack("<I", 1 << 20) + b"\x7f" * (1 << 20) + b".",
    "many instructions": b"\x80\x04" + b"N0" * 400_000 + b"N.",
    "nesting": b"\x80\x04N" + b"\x85" * 20_000 + b".",
    "doubling": b"\x80\x04)" + b"".join(b"\x94h" + bytes([i]) + b"\x86" for i in range(60)) + b".",
}


@pytest.mark.parametrize("name", HUGE)
def test_what_it_announces_is_not_allocated(name):
    data = numpy_file(HUGE[name])
    tracemalloc.start()
    with pytest.raises(ValueError, match=r"pickle|\.dac file|array"):
        read_dac(data)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20 * len(data) + (1 << 20)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "does not begin as a numpy file"),
        (b"RIFF....WAVE", "does not begin as a numpy file"),
        (DATA[:100], "does not begin as a numpy file"),
        (DATA[:-7], "damaged or cut short"),
        (numpy_file(b""), "damaged or cut short"),
        (numpy_file(pickle.dumps([1, 2])), "holds no codes"),
        (original(dac_version="2.0.0"), "of another version than 1.0.0"),
        (original(metadata={"dac_version": "1.0.0"}), "lack or do not need channels, chunk_length"),
        (original(surprise=1), "lack or do not need surprise"),
        (original(chunk_length=0), "chunk_length must be 1 to"),
        (original(chunk_length=2.0), "chunk_length of this .dac file must be int, got float"),
        (original(channels=True), "channels of this .dac file must be int, got bool"),
        (original(original_length=-1), "original_length must be"),
        (original(sample_rate=1 << 30), "sample_rate must be 1 to 768000"),
        (original(padding=1), "padding of this .dac file must be bool, got int"),
        (original(channels=1), "got 2 for 1 channels"),
        (original(input_db=np.array([np.nan], np.float32)), "finite"),
        (original(input_db="loud"), "no loudness"),
        (original(np.zeros((2, 3), np.uint16)), "no whole numbers"),
        (original(np.zeros((2, 3, 0), np.uint16)), "got none"),
        (original(np.zeros((2, 3, 4))), "no whole numbers"),
        (original(np.full((2, 3, 4), 1 << 16)), "16 bits"),
        (original(np.array(["a"])), "something else than numbers"),
        (original("codes"), "no whole numbers"),
    ],
)
def test_wrong_files_are_named(data, message):
    with pytest.raises(ValueError, match=message):
        read_dac(data)


def reads_or_refuses(data: bytes) -> None:
    try:
        file = read_dac(data)
    except ValueError:
        return
    assert file.codes.nbytes <= 8 * len(data)


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes(data):
    reads_or_refuses(data)
    reads_or_refuses(numpy_file(data))


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.integers(0, len(DATA) - 1), st.integers(0, 255)), min_size=1, max_size=6))
def test_changed_bytes(changes):
    data = bytearray(DATA)
    for place, value in changes:
        data[place] = value
    reads_or_refuses(bytes(data))


@pytest.mark.parametrize(("place", "value"), [(246, 149), (1003, 49)])  # a tuple as byte order; numbers of type f1
def test_array_types_that_are_none(place, value):
    data = bytearray(DATA)
    data[place] = value
    with pytest.raises(ValueError, match="numbers"):
        read_dac(bytes(data))


@settings(max_examples=100, deadline=None)
@given(st.integers(0, len(DATA) - 1))
def test_cut_files(length):
    with pytest.raises(ValueError):
        read_dac(DATA[:length])


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.binary(max_size=300),
    lambda inner: st.lists(inner, max_size=4) | st.tuples(inner, inner) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=12,
)


@settings(max_examples=150, deadline=None)
@given(VALUES, st.sampled_from([3, 4, 5]))
def test_plain_data_reads_as_pickle_reads_it(value, protocol):
    # repr, for the sake of nan
    assert repr(read_data_pickle(pickle.dumps(value, protocol))) == repr(value)


@settings(max_examples=100, deadline=None)
@given(VALUES, VALUES)
def test_any_table(codes, metadata):
    reads_or_refuses(original(codes, metadata))
