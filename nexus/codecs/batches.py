"""Batches of sounds of unequal length through a codec, each item as it is alone.

Padding would not do: convolutions that look ahead, LSTMs that run on and last frames that are filled up all hear
where a sound ends. So items of equal length are encoded together, others one by one, and decoded one by one.
Axes: B batch, C channels, L waveform samples, K codebooks, T frames.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from nexus.codecs.encodec_windows import WindowedCodes


def encode_batch(
    codec: Any, waveform: Float[Tensor, "B C L"], lengths: Int[Tensor, " _"], **options: Any
) -> list[Tensor | WindowedCodes]:
    """The codes [K, T] of each item's first `lengths` samples; of a codec of windows its windows, a batch of one.

    Args:
        options: for `codec.encode`, such as n_codebooks.
    """
    return each(lambda items: codec.encode(items, **options), waveform, lengths)


def decode_batch(
    codec: Any, codes: Sequence[Int[Tensor, "K _"] | WindowedCodes], lengths: Int[Tensor, " _"], *beside: Tensor
) -> Float[Tensor, "B C L"]:
    """The waveform of each item's codes, zeros after its own length.

    Args:
        beside: what decoding needs beside codes, a row an item, such as the voices of FACodec.
    """
    if len(codes) != len(lengths):
        raise ValueError(f"each item needs a length, got {len(lengths)} for {len(codes)}")
    decoded: list[Tensor] = []
    for i, (item, length) in enumerate(zip(codes, lengths.tolist(), strict=True)):
        if isinstance(item, WindowedCodes):
            decoded.append(codec.decode(item)[0, :, :length])
        else:
            decoded.append(codec.decode(item[None], *(rows[i : i + 1] for rows in beside), length=length)[0])
    return torch.nn.utils.rnn.pad_sequence([item.mT for item in decoded], batch_first=True).mT


def each(
    function: Callable[[Float[Tensor, "N C M"]], Any], waveform: Float[Tensor, "B C L"], lengths: Int[Tensor, " _"]
) -> list[Any]:
    """What `function` of items of equal length gives, item by item.

    Raises:
        ValueError: lengths that are not one for each item, or beyond the waveform.
    """
    n, longest = len(waveform), waveform.shape[-1]
    if lengths.shape != (n,) or not 1 <= int(lengths.min()) <= int(lengths.max()) <= longest:
        raise ValueError(f"lengths must be {n} numbers of samples, 1 to {longest} each, got {lengths.tolist()}")
    found: list[Any] = [None] * n
    for length in lengths.unique().tolist():
        places = (lengths == length).nonzero()[:, 0].tolist()
        result = function(waveform[places, :, :length])
        for row, place in enumerate(places):
            found[place] = _item(result, row)
    return found


def _item(result: Any, row: int) -> Any:
    if isinstance(result, WindowedCodes):
        return WindowedCodes(result.codes[row : row + 1], result.scales[row : row + 1], result.length)
    return result[row]
