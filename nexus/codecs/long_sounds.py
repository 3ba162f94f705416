"""Any codec over sounds of any length: in pieces through its stream, so that hours need the memory of seconds.

What a codec takes is one contract for all: `streaming()` gives `encode(chunk, n_codebooks=, last=)` and
`decode(codes, last=)`. A codec of one channel takes the channels of a sound one by one, as a batch in step.
Axes: C channels of the sound, R rows of the batch, K codebooks, T frames, W windows.
"""

import inspect
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Integer
from numpy import ndarray
from torch import Tensor

from nexus.codecs.encodec_windows import WindowedCodes, WindowedEncodec
from nexus.codecs.facodec import FACodec
from nexus.media.audio_blocks import Pieces, SoundBlocks, fitted, regular

PIECE = 10.0  # seconds
VOICE = 60.0  # seconds from the start that a voice is heard in
LOUDEST = 1e6  # that a window's scale, its mean level, can be: far beyond any sound, far below what overflows
LONGEST_WHOLE = 600.0  # seconds that a codec without a stream is given at once


@dataclass(frozen=True, kw_only=True)
class CodedSound:
    """Codes of each row, what else decoding needs (`side`: the scales of windows, a voice), and what they stand for."""

    codes: Integer[ndarray, "R K T"]
    length: int  # samples of a channel at the codec's rate
    channels: int  # of the sound; a row each where the codec has one channel
    side: dict[str, Float[ndarray, "R _"]] = field(default_factory=dict)


def codebooks_at(codec: Any, bitrate: float | int) -> int:
    """How many codebooks fit into `bitrate` kb/s, a row.

    Raises:
        ValueError: none fit, or the codec cannot leave codebooks out.
    """
    if not chooses_codebooks(codec):
        own = codec.bitrate / 1000
        raise ValueError(f"this codec has one bit rate, {own:.4g} kb/s; leave the bit rate out")
    if hasattr(codec, "codebooks_at"):
        return codec.codebooks_at(float(bitrate))
    each = codec.bitrate_of(1) / 1000
    n = math.floor(bitrate / each + 1e-6)
    if not 1 <= n <= codec.n_codebooks:
        raise ValueError(f"the bit rate must be {each:.4g} to {each * codec.n_codebooks:.4g} kb/s, got {bitrate:g}")
    return n


def chooses_codebooks(codec: Any) -> bool:
    return "n_codebooks" in inspect.signature(codec.encode).parameters


def as_channels(sound: SoundBlocks, codec: Any) -> tuple[SoundBlocks, str]:
    """The sound with channels that the codec can take, and in words what was done ("" for nothing).

    Raises:
        ValueError: a codec of two channels, and a sound of 3, 4, 5 or over 6.
    """
    from nexus.media.audio import Audio

    takes = codec.channels
    if sound.channels == takes:
        return sound, ""
    if takes == 1:
        return sound, f"{sound.channels} channels coded one by one"
    if sound.channels != 1 and (sound.channels, takes) != (6, 2):
        raise ValueError(
            f"this codec takes {takes} channels, got {sound.channels}; 1 and 6 can be made {takes}, or take a codec of "
            "one channel, which codes any number one by one"
        )
    done = "its one channel coded as two" if sound.channels == 1 else "5.1 channels folded to stereo"
    pieces = (Audio(block, sound.rate).to_channels(takes).samples for block in sound.blocks)
    return SoundBlocks(rate=sound.rate, channels=takes, blocks=pieces, length=sound.length), done


@torch.inference_mode()
def encode_long(codec: Any, sound: SoundBlocks, n_codebooks: int | None = None) -> CodedSound:
    """Codes of a sound at the codec's rate and with channels that it takes.

    Raises:
        ValueError: an empty sound, or one too long for a codec without a stream.
    """
    takes = codec.channels
    if sound.rate != codec.sample_rate:
        raise ValueError(f"this codec takes {codec.sample_rate} Hz, got {sound.rate}; resample the sound first")
    chosen = {} if n_codebooks is None else {"n_codebooks": n_codebooks}
    lengths: list[int] = []
    pieces = _counted(_rows(sound.blocks, takes, codec), lengths)
    encode, _ = _ways(codec)
    found, side = encode(codec, pieces, chosen)
    if not found:
        raise ValueError("the sound is empty; a codec needs at least one sample")
    return CodedSound(codes=np.concatenate(found, axis=-1), length=sum(lengths), channels=sound.channels, side=side)


def _ways(codec: Any) -> tuple[Callable[..., Any], Callable[..., Iterator[Tensor]]]:
    """How to encode and how to decode: codecs that need something beside their codes have ways of their own."""
    if isinstance(codec, WindowedEncodec):
        return _encode_windows, _decode_windows
    return (_encode_voice, _decode_voice) if isinstance(codec, FACodec) else (_encode, _decode)


def _rows(blocks: Pieces, takes: int, codec: Any) -> Iterator[Tensor]:
    """Pieces [R, channels, L] on the codec's device."""
    place = next(iter(codec.state_dict().values())).device
    for block in regular(blocks, round(PIECE * codec.sample_rate)):
        waveform = torch.from_numpy(np.ascontiguousarray(block, dtype=np.float32)).to(place)
        yield waveform[:, None] if takes == 1 else waveform[None]


def _counted(pieces: Iterable[Tensor], lengths: list[int]) -> Iterator[Tensor]:
    for piece in pieces:
        lengths.append(piece.shape[-1])
        yield piece


def with_last(items: Iterable[Any]) -> Iterator[tuple[Any, bool]]:
    """Each item, and whether it is the last."""
    iterator = iter(items)
    for held in iterator:
        for item in iterator:
            yield held, False
            held = item
        yield held, True


def _encode(codec: Any, pieces: Iterator[Tensor], chosen: dict[str, int]) -> tuple[list[ndarray], dict[str, ndarray]]:
    if not hasattr(codec, "streaming"):
        whole = _whole(codec, pieces)
        return ([] if whole is None else [_kept(codec.encode(whole, **chosen))]), {}
    with codec.streaming() as stream:
        return [_kept(stream.encode(piece, **chosen, last=last)) for piece, last in with_last(pieces)], {}


def _whole(codec: Any, pieces: Iterator[Tensor]) -> Tensor | None:
    held: list[Tensor] = []
    for piece in pieces:
        held.append(piece)
        if sum(p.shape[-1] for p in held) > LONGEST_WHOLE * codec.sample_rate:
            raise ValueError(f"this codec does not stream, and takes up to {LONGEST_WHOLE:g} s at once; cut the sound")
    return torch.cat(held, dim=-1) if held else None


def _encode_windows(
    codec: WindowedEncodec, pieces: Iterator[Tensor], chosen: dict[str, int]
) -> tuple[list[ndarray], dict[str, ndarray]]:
    with codec.streaming() as stream:
        windows = [w for piece, last in with_last(pieces) for w in stream.encode(piece, **chosen, last=last)]
    scales = [window.scales.cpu().numpy() for window in windows]
    return [_kept(window.codes) for window in windows], {"scales": np.concatenate(scales, axis=1)} if scales else {}


def _encode_voice(
    codec: FACodec, pieces: Iterator[Tensor], chosen: dict[str, int]
) -> tuple[list[ndarray], dict[str, ndarray]]:
    """Codes, and the voice of the first minute."""
    held: list[Tensor] = []

    def remembered() -> Iterator[Tensor]:
        for piece in pieces:
            if len(held) * PIECE < VOICE:
                held.append(piece)
            yield piece

    if codec.prosody_encoder is None:
        codes, _ = _encode(codec, remembered(), chosen)
    else:  # version 2 hears prosody in the whole recording
        whole = _whole(codec, remembered())
        codes = [] if whole is None else [_kept(codec.encode(whole))]
    return codes, {"timbre": codec.timbre(torch.cat(held, dim=-1)).float().cpu().numpy()} if held else {}


def _kept(codes: Integer[Tensor, "R K T"]) -> Integer[ndarray, "R K T"]:
    return codes.to(torch.int32).cpu().numpy()


@torch.inference_mode()
def decode_long(codec: Any, coded: CodedSound) -> SoundBlocks:
    """The sound of codes, in pieces as they are asked for.

    Raises:
        ValueError: codes that the codec cannot have made; some of this may come to light while the pieces are read.
    """
    check_codes(codec, coded)
    _, decode = _ways(codec)
    return SoundBlocks(
        rate=codec.sample_rate,
        channels=coded.channels,
        # Frames reach beyond the length that was encoded, and some decoders stay below it.
        blocks=fitted(_samples(decode(codec, coded)), coded.channels, coded.length),
        length=coded.length,
    )


def check_codes(codec: Any, coded: CodedSound) -> None:
    """Raises ValueError where the number of rows, codebooks, frames or a code itself is not one of the codec's."""
    rows, n_codebooks, n_frames = coded.codes.shape
    takes = codec.channels
    if rows * takes != coded.channels:
        raise ValueError(f"{rows} rows of {takes} channels each do not make {coded.channels} channels")
    allowed = range(1, codec.n_codebooks + 1) if chooses_codebooks(codec) else [codec.n_codebooks]
    if n_codebooks not in allowed:
        raise ValueError(f"this codec has {codec.n_codebooks} codebooks, got codes of {n_codebooks}")
    if coded.codes.size and not 0 <= coded.codes.min() <= coded.codes.max() < codec.codebook_size:
        most = codec.codebook_size - 1
        raise ValueError(f"codes must be 0 to {most}, got {coded.codes.min()} to {coded.codes.max()}")
    windows = isinstance(codec, WindowedEncodec)
    needed = sum(codec.window_frames(coded.length)) if windows else -(-coded.length // codec.hop_length)
    if n_frames < needed or n_frames > needed + (0 if windows else codec.sample_rate // codec.hop_length):
        raise ValueError(f"{coded.length} samples have {needed} frames, got codes of {n_frames}")
    side = {"scales": (rows, len(codec.window_lengths(coded.length)))} if windows else {}
    side |= {"timbre": (rows, codec.config.dim)} if isinstance(codec, FACodec) else {}
    given = {name: values.shape for name, values in coded.side.items()}
    if given != side:
        raise ValueError(f"beside its codes this codec needs {side or 'nothing'}, got {given or 'nothing'}")
    if windows and not ((scales := coded.side["scales"]) >= 0).all() & (scales <= LOUDEST).all():
        raise ValueError(f"scales must be 0 to {LOUDEST:g}, got {scales.min():g} to {scales.max():g}")


def _decode(codec: Any, coded: CodedSound, *voice: Tensor) -> Iterator[Tensor]:
    place = next(iter(codec.state_dict().values())).device
    codes = torch.from_numpy(coded.codes)
    if not hasattr(codec, "streaming"):
        yield codec.decode(codes.long().to(place))
        return
    with codec.streaming(*voice) as stream:
        for part, last in with_last(codes.split(max(1, round(PIECE * codec.frame_rate)), dim=-1)):
            yield stream.decode(part.long().to(place), last=last)


def _decode_voice(codec: FACodec, coded: CodedSound) -> Iterator[Tensor]:
    place = next(codec.parameters()).device
    yield from _decode(codec, coded, torch.from_numpy(coded.side["timbre"]).to(place))


def _decode_windows(codec: WindowedEncodec, coded: CodedSound) -> Iterator[Tensor]:
    place = next(iter(codec.state_dict().values())).device
    scales = torch.from_numpy(coded.side["scales"]).to(place)
    lengths = codec.window_lengths(coded.length)
    parts = torch.from_numpy(coded.codes).split(codec.window_frames(coded.length), dim=-1)
    with codec.streaming() as stream:
        for (w, part), last in with_last(enumerate(parts)):
            window = WindowedCodes(part.long().to(place), scales[:, w : w + 1], lengths[w])
            yield stream.decode(window, last=last)


def _samples(pieces: Iterator[Tensor]) -> Pieces:
    for piece in pieces:
        samples = piece.flatten(0, 1).float().cpu().numpy()  # [R, channels, L] to [C, L]
        if not np.isfinite(samples).all():
            raise ValueError("damaged: these codes, and what is beside them, sound like no finite numbers")
        yield samples
