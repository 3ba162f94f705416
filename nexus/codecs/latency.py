"""How much sound a streaming codec must hear before it gives anything: found by trial, so it holds for any codec."""

from contextlib import AbstractContextManager
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch


@runtime_checkable
class StreamingCodec(Protocol):
    def streaming(self) -> AbstractContextManager[Any]: ...


class Latency(NamedTuple):
    """Samples heard, counted from the start of a stream, when the first codes and the first sound are there."""

    codes: int
    waveform: int


def first_frame_latency(codec: StreamingCodec, channels: int = 1, longest: int = 1 << 18) -> Latency:
    """The least first chunk after which a stream gives codes, and of which codes give sound.

    Raises:
        ValueError: a chunk of `longest` samples is not enough.
    """
    return Latency(*(_least_chunk(codec, channels, longest, decode=decode) for decode in (False, True)))


def _least_chunk(codec: StreamingCodec, channels: int, longest: int, *, decode: bool) -> int:
    too_few, enough = 0, 1
    while not _answers(codec, channels, enough, decode=decode):
        if enough >= longest:
            raise ValueError(f"the codec gives nothing after {enough} samples")
        too_few, enough = enough, 2 * enough
    while enough - too_few > 1:
        middle = (enough + too_few) // 2
        if _answers(codec, channels, middle, decode=decode):
            enough = middle
        else:
            too_few = middle
    return enough


def _answers(codec: StreamingCodec, channels: int, n: int, *, decode: bool) -> bool:
    with codec.streaming() as stream:
        codes = stream.encode(torch.zeros(1, channels, n))
        return (stream.decode(codes) if decode else codes).shape[-1] > 0
