"""`.nxc`: the codes of any codec in a file, packed at their bits and naming the weights that decode them.

It is a safetensors file: `codes` holds row after row, in a row frame after frame and in a frame codebook after
codebook, ceil(log2 of the codebook size) bits each, the lowest bit first; the tensors that decoding needs beside them
(scales) follow as float32; the rest stands as JSON in the metadata. It is read without running any code, and needs
about ten times its size of memory.
"""

import json
import math
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from nexus.codecs.arithmetic import pack, unpack
from nexus.codecs.long_sounds import CodedSound

SUFFIX = ".nxc"
VERSION = 1
_KEY = "nexus-codes"
_MOST_BITS = 24


@dataclass(frozen=True, kw_only=True)
class Head:
    """What a file says of its codes."""

    codec: str  # the name or place of the weights, as they were loaded
    weights_hash: str
    sample_rate: int  # Hz, of the codec
    codebook_size: int
    length: int  # samples a channel
    channels: int
    n_rows: int
    n_codebooks: int
    n_frames: int

    def __post_init__(self):
        for name in ("sample_rate", "length", "channels", "n_rows", "n_codebooks", "n_frames"):
            if not 0 < getattr(self, name) < 1 << 48:
                raise ValueError(f"{name} must be a positive whole number, got {getattr(self, name)}")
        if not 2 <= self.codebook_size <= 1 << _MOST_BITS:
            raise ValueError(f"codebook_size must be 2 to 2^{_MOST_BITS}, got {self.codebook_size}")

    @property
    def bits(self) -> int:
        """Of a code."""
        return math.ceil(math.log2(self.codebook_size))

    @property
    def n_bytes(self) -> int:
        """Of all codes together."""
        return -(-self.n_rows * self.n_codebooks * self.n_frames * self.bits // 8)


def write_codes(coded: CodedSound, *, codec: str, weights_hash: str, sample_rate: int, codebook_size: int) -> bytes:
    """The file; the same bytes for the same codes.

    Raises:
        ValueError: codes beyond the codebook, or none.
    """
    rows, n_codebooks, n_frames = coded.codes.shape
    head = Head(
        codec=codec,
        weights_hash=weights_hash,
        sample_rate=sample_rate,
        codebook_size=codebook_size,
        length=coded.length,
        channels=coded.channels,
        n_rows=rows,
        n_codebooks=n_codebooks,
        n_frames=n_frames,
    )
    if not 0 <= coded.codes.min() <= coded.codes.max() < codebook_size:
        raise ValueError(f"codes must be 0 to {codebook_size - 1}, got {coded.codes.min()} to {coded.codes.max()}")
    data = pack(coded.codes.transpose(0, 2, 1).ravel(), head.bits)
    tensors = {"codes": np.frombuffer(data, np.uint8)}
    tensors |= {name: np.ascontiguousarray(side, dtype=np.float32) for name, side in sorted(coded.side.items())}
    return save(tensors, {_KEY: json.dumps({"version": VERSION, **asdict(head)})})


def read_codes(data: bytes) -> tuple[Head, CodedSound]:
    """What `write_codes` wrote.

    Raises:
        ValueError: not such a file, or damaged.
    """
    try:
        tensors = load(data)
        metadata = _metadata(data)
    except (SafetensorError, ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise ValueError(f"not a file of codes, or cut short ({error})") from None
    head, codes = _head(metadata), tensors.pop("codes", np.zeros(0))
    if codes.dtype != np.uint8 or codes.ndim != 1 or len(codes) != head.n_bytes:
        raise ValueError(f"damaged: {head.n_bytes} bytes of codes were announced, there are {codes.size}")
    shape = (head.n_rows, head.n_frames, head.n_codebooks)
    rows = unpack(codes.tobytes(), head.bits, math.prod(shape)).astype(np.int32).reshape(shape).transpose(0, 2, 1)
    if rows.max() >= head.codebook_size:
        raise ValueError(f"damaged: codes must be 0 to {head.codebook_size - 1}, got {rows.max()}")
    for name, side in tensors.items():
        if side.dtype != np.float32 or side.ndim != 2 or len(side) != head.n_rows or not np.isfinite(side).all():
            raise ValueError(f"damaged: {name} must be {head.n_rows} rows of finite numbers")
    return head, CodedSound(codes=rows, length=head.length, channels=head.channels, side=tensors)


def _metadata(data: bytes) -> dict[str, Any]:
    """safetensors' reader of bytes leaves the metadata out: a JSON of so many bytes as the first eight say."""
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    values = json.loads(header["__metadata__"][_KEY])
    if not isinstance(values, dict):
        raise ValueError("its head is no table")
    return values


def _head(values: dict[str, Any]) -> Head:
    if values.pop("version", None) != VERSION:
        raise ValueError(f"it is of another version than {VERSION}, which is what this nexus reads")
    if set(values) != {field.name for field in fields(Head)}:
        raise ValueError(f"damaged: its head holds {', '.join(sorted(values)) or 'nothing'}")
    for name, value in values.items():
        wanted = str if name in ("codec", "weights_hash") else int
        if type(value) is not wanted:
            raise ValueError(f"damaged: {name} must be {'words' if wanted is str else 'a whole number'}, got {value!r}")
    return Head(**values)
