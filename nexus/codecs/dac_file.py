"""`.dac`, the files of Descript's package: a numpy file of one object, the pickle of a table of codes and metadata.

Read without unpickling (`nexus.codecs.data_pickle`), so that a hostile file runs no code and needs no more memory than
a few times its size; written as the original writes it, which reads both ways.
Axes: R rows (a channel each), K codebooks, T frames.
"""

import io
import re
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Integer
from numpy import ndarray

from nexus.codecs.data_pickle import PickledArray, read_data_pickle

SUFFIX = ".dac"
VERSION = "1.0.0"
_LARGEST = 1 << 30  # bytes; hundreds of hours
_HEADER = re.compile(rb"\{'descr': '\|O', 'fortran_order': (?:True|False), 'shape': \(\), \} *\n")
_WHOLE = {  # least and most
    "chunk_length": (1, 1 << 40),
    "original_length": (0, 1 << 40),
    "channels": (1, 1024),
    "sample_rate": (1, 768_000),
}


@dataclass(frozen=True, kw_only=True)
class DacFile:
    """Codes in chunks of `chunk_length` frames, each decoded on its own.

    With `padding` a chunk stands for itself; without, chunks overlap, and convolutions see whole windows only
    (`nexus.codecs.dac_windows`).
    """

    codes: Integer[ndarray, "R K T"]
    chunk_length: int  # frames
    original_length: int  # samples a channel, at `sample_rate`
    sample_rate: int  # Hz, of the original sound, not of the codec
    channels: int
    padding: bool
    loudness: float  # LUFS, of the original sound

    def __post_init__(self):
        for name, (least, most) in _WHOLE.items():
            if not least <= getattr(self, name) <= most:
                raise ValueError(f"{name} must be {least} to {most}, got {getattr(self, name)}")
        if not self.codes.size:
            raise ValueError(f"codes must be some, got none of shape {self.codes.shape}")
        if len(self.codes) != self.channels:
            raise ValueError(f"each channel needs a row of codes, got {len(self.codes)} for {self.channels} channels")
        if not 0 <= self.codes.min() <= self.codes.max() < 1 << 16:
            raise ValueError(f"codes must fit 16 bits, got {self.codes.min()} to {self.codes.max()}")
        if not np.isfinite(self.loudness):
            raise ValueError(f"loudness must be a finite number, got {self.loudness}")


def write_dac(file: DacFile) -> bytes:
    """The bytes of a `.dac` file."""
    metadata = {
        "input_db": np.array([file.loudness], np.float32),
        "original_length": file.original_length,
        "sample_rate": file.sample_rate,
        "chunk_length": file.chunk_length,
        "channels": file.channels,
        "padding": file.padding,
        "dac_version": VERSION,
    }
    content = np.array({"codes": np.ascontiguousarray(file.codes, dtype=np.uint16), "metadata": metadata}, object)
    buffer = io.BytesIO()
    np.save(buffer, content)
    return buffer.getvalue()


def read_dac(data: bytes) -> DacFile:
    """What Descript's package or `write_dac` wrote.

    Raises:
        ValueError: not such a file, one of another version, or damaged.
    """
    if len(data) > _LARGEST:
        raise ValueError(f"a .dac file has at most {_LARGEST} bytes, got {len(data)}")
    content = _plain(read_data_pickle(data[_pickle_start(data) :]))
    if not isinstance(content, dict) or not isinstance(content.get("metadata"), dict) or "codes" not in content:
        raise ValueError("not a .dac file: it holds no codes and metadata")
    metadata = {name: _plain(value) for name, value in content["metadata"].items()}
    if metadata.pop("dac_version", None) != VERSION:
        raise ValueError(f"this .dac file is of another version than {VERSION}, the only one there was")
    expected = {*_WHOLE, "input_db", "padding"}
    if set(metadata) != expected:
        wrong = ", ".join(sorted(name[:40] for name in expected.symmetric_difference(metadata)))
        raise ValueError(f"the metadata of this .dac file lack or do not need {wrong}")
    for name in expected - {"input_db"}:
        wanted = bool if name == "padding" else int
        if type(metadata[name]) is not wanted:
            raise ValueError(f"{name} of this .dac file must be {wanted.__name__}, got {type(metadata[name]).__name__}")
    codes = _plain(content["codes"])
    if not isinstance(codes, ndarray) or codes.ndim != 3 or codes.dtype.kind not in "ui":
        raise ValueError("the codes of this .dac file are no whole numbers [rows, codebooks, frames]")
    return DacFile(codes=codes, loudness=_loudness(metadata.pop("input_db")), **metadata)


def _pickle_start(data: bytes) -> int:
    """Where the pickle begins in a numpy file of one object."""
    wide = data[6:7] != b"\x01"
    start = 12 if wide else 10
    header = data[start : start + int.from_bytes(data[8:start], "little")]
    if data[:6] != b"\x93NUMPY" or len(data) < start or not _HEADER.fullmatch(header):
        raise ValueError("not a .dac file: it does not begin as a numpy file of one object")
    return start + len(header)


def _plain(value: Any) -> Any:
    """Arrays as numpy's, those of no axis as their one number."""
    if isinstance(value, PickledArray):
        value = value.value()
    return value.item() if isinstance(value, ndarray) and not value.ndim else value


def _loudness(value: Any) -> float:
    if isinstance(value, ndarray) and value.size == 1:
        value = value.item()
    if not isinstance(value, float | int):
        raise ValueError("the metadata of this .dac file hold no loudness")
    return float(value)
