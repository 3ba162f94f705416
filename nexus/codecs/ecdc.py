"""The `.ecdc` files of EnCodec (facebookresearch/encodec, MIT), read and written byte for byte.

    "ECDC" | version 0, one byte | size of the metadata, uint32 | metadata, JSON | windows

Numbers are big-endian. The metadata are the model's name `m`, the length in samples `al`, the number of codebooks
`nc` and whether a language model was used, `lm`. Each window (the whole sound, where the codec has no windows) is
its scale, float32, where the codec has scales; then its codes, frame by frame, all codebooks of a frame in turn:
packed at log2(codebook size) bits each, or in arithmetic code. It ends with a whole byte.
Axes: C channels, L waveform samples, K codebooks, T frames, W windows.
"""

import json
import math
import struct
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from nexus.codecs.arithmetic import ArithmeticDecoder, ArithmeticEncoder, cumulative_widths, pack, unpack
from nexus.codecs.encodec import Encodec, EncodecConfig
from nexus.codecs.encodec_lm import EncodecLM, probabilities
from nexus.codecs.encodec_windows import WindowedCodes, WindowedEncodec, WindowedEncodecConfig

Codec = Encodec | WindowedEncodec

_HEADER = struct.Struct("!4sBI")
_SCALE = struct.Struct("!f")
_LONGEST_METADATA = 4096  # bytes; the original writes about 60
_NAMES = {EncodecConfig.encodec_24khz(): "encodec_24khz", WindowedEncodecConfig.encodec_48khz(): "encodec_48khz"}


@dataclass(frozen=True)
class Metadata:
    model: str
    length: int  # samples
    n_codebooks: int
    uses_lm: bool


def name_of(codec: Codec) -> str:
    """What files call a codec: the official presets by their names, others as they were loaded."""
    info = getattr(codec, "info", None)
    return _NAMES.get(codec.config) or (info.name if info else "unset")


@dataclass(frozen=True)
class Coded:
    """What a file holds of one sound: codes of its windows in turn, their scales, its length in samples."""

    codes: Int[Tensor, "1 K T"]
    scales: Float[Tensor, "1 W"] | None
    length: int


def compress(
    codec: Codec, waveform: Float[Tensor, "C L"], *, bandwidth: float | None = None, lm: EncodecLM | None = None
) -> bytes:
    """The file of a waveform at the codec's sample rate.

    Args:
        bandwidth: kbps before the language model's savings; by default all codebooks are used.
        lm: a language model of the codec's codes: smaller files (the paper says by 25 to 40 %), slowly made and read.
    """
    encoded = codec.encode(waveform[None], bandwidth)
    if isinstance(encoded, WindowedCodes):
        return write(codec, Coded(*encoded), lm)
    return write(codec, Coded(encoded, None, waveform.shape[-1]), lm)


def decompress(
    codec: Codec, data: bytes, *, lm: EncodecLM | None = None, max_seconds: float = 4 * 3600.0
) -> Float[Tensor, "C L"]:
    """The waveform of a file.

    Raises:
        ValueError: as `read`.
    """
    coded = read(codec, data, lm, max_seconds=max_seconds)
    if isinstance(codec, WindowedEncodec):
        assert coded.scales is not None
        return codec.decode(WindowedCodes(coded.codes, coded.scales, coded.length))[0]
    return codec.decode(coded.codes, length=coded.length)[0]


def write(codec: Codec, coded: Coded, lm: EncodecLM | None = None) -> bytes:
    """The file of codes, in arithmetic code where a language model is given."""
    n_codebooks = coded.codes.shape[1]
    _check_lm(codec, n_codebooks, lm)
    values = {"m": name_of(codec), "al": coded.length, "nc": n_codebooks, "lm": lm is not None}
    metadata = json.dumps(values).encode()
    parts = [_HEADER.pack(b"ECDC", 0, len(metadata)), metadata]
    for w, codes in enumerate(coded.codes.split(window_frames(codec, coded.length), dim=-1)):
        parts += [_SCALE.pack(coded.scales[0, w].item())] if coded.scales is not None else []
        if lm is None:
            parts.append(pack(codes[0].T.flatten().cpu().numpy(), _bits(codec)))
        else:
            parts.append(_encode(codes, lm))
    return b"".join(parts)


def read_metadata(data: bytes) -> tuple[Metadata, int]:
    """What a file says of itself, and where its windows begin.

    Raises:
        ValueError: not such a file, or damaged.
    """
    if len(data) < _HEADER.size or data[:4] != b"ECDC":
        raise ValueError("not an .ecdc file: it does not begin with ECDC")
    _, version, size = _HEADER.unpack_from(data)
    if version != 0:
        raise ValueError(f"this .ecdc file is of version {version}; only version 0 is known")
    start = _HEADER.size + size
    if size > _LONGEST_METADATA or start > len(data):
        raise ValueError(f"damaged .ecdc file: {size} bytes of metadata in a file of {len(data)}")
    try:
        everything = json.loads(data[_HEADER.size : start])
        values = [everything[key] for key in ("m", "al", "nc", "lm")]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"damaged .ecdc file: unreadable metadata ({type(error).__name__})") from None
    if [type(value) for value in values] != [str, int, int, bool] or values[1] < 1 or values[2] < 1:
        raise ValueError(f"damaged .ecdc file: its metadata are {str(everything)[:200]}")
    return Metadata(*values), start


def read(codec: Codec, data: bytes, lm: EncodecLM | None = None, *, max_seconds: float = 4 * 3600.0) -> Coded:
    """The codes of a file.

    Memory and time are bounded before any is spent, by `max_seconds` of sound and by how much `data` can hold.

    Raises:
        ValueError: not such a file, damaged, cut off, of another codec, with or without a language model unlike the
            arguments, or longer than `max_seconds`.
    """
    metadata, start = read_metadata(data)
    _check(codec, metadata, lm, len(data) - start, max_seconds)
    rest, codes, scales = memoryview(data)[start:], [], []
    try:
        for n_frames in window_frames(codec, metadata.length):
            if isinstance(codec, WindowedEncodec):
                scales.append(_scale(rest))
                rest = rest[_SCALE.size :]
            window, n_bytes = _read_window(codec, rest, metadata.n_codebooks, n_frames, lm)
            codes.append(window)
            rest = rest[n_bytes:]
    except EOFError:
        raise ValueError(f"the .ecdc file is cut off: {len(data)} bytes do not hold all its codes") from None
    if rest:
        raise ValueError(f"damaged .ecdc file: {len(rest)} bytes too many")
    all_scales = torch.tensor(scales, device=_device(codec))[None] if scales else None
    return Coded(torch.cat(codes, dim=-1), all_scales, metadata.length)


def window_frames(codec: Codec, length: int) -> list[int]:
    """Frames of codes in each window; the whole is one where the codec has no windows.

    Deviation: the original's reader computes them from seconds in floating point, and for some lengths expects a
    frame more than its writer wrote.
    """
    if isinstance(codec, WindowedEncodec):
        return codec.window_frames(length)
    return [-(-length // codec.hop_length)]


def _check(codec: Codec, metadata: Metadata, lm: EncodecLM | None, n_bytes: int, max_seconds: float) -> None:
    if metadata.model != name_of(codec):
        raise ValueError(f"the .ecdc file is of {metadata.model[:80]!r}, the codec is {name_of(codec)!r}")
    if metadata.n_codebooks > codec.n_codebooks:
        raise ValueError(f"the .ecdc file has {metadata.n_codebooks} codebooks, the codec {codec.n_codebooks}")
    if metadata.uses_lm != (lm is not None):
        wanted = "was made with a language model, give it as lm" if metadata.uses_lm else "needs no lm"
        raise ValueError(f"the .ecdc file {wanted}")
    _check_lm(codec, metadata.n_codebooks, lm)
    seconds = metadata.length / codec.sample_rate
    if seconds > max_seconds:
        raise ValueError(f"the .ecdc file claims {seconds:.0f} s of sound, allowed are max_seconds={max_seconds:g}")
    n_codes = metadata.n_codebooks * -(-metadata.length // codec.hop_length)
    n_scales = -(-metadata.length // codec.config.stride) if isinstance(codec, WindowedEncodec) else 0
    # The likeliest symbol there can be leaves two numbers of 2^24 to each of the others.
    bits = _bits(codec) if lm is None else -math.log2(1 - 2 * (codec.codebook_size - 1) / 2**24)
    if n_bytes < n_codes * bits / 8 + n_scales * _SCALE.size:
        raise ValueError(f"the .ecdc file is cut off: {n_bytes} bytes do not hold the codes of {seconds:.1f} s")


def _check_lm(codec: Codec, n_codebooks: int, lm: EncodecLM | None) -> None:
    if lm is not None and (lm.codebook_size != codec.codebook_size or lm.n_codebooks < n_codebooks):
        raise ValueError(
            f"the language model is of {lm.n_codebooks} codebooks of {lm.codebook_size}, "
            f"the codes of {n_codebooks} of {codec.codebook_size}"
        )


def _device(codec: Codec) -> torch.device:
    return next(codec.parameters()).device


def _bits(codec: Codec) -> int:
    """Bits of a packed code.

    Raises:
        ValueError: the codebook's size is no power of two, which files can't hold.
    """
    bits = codec.codebook_size.bit_length() - 1
    if 2**bits != codec.codebook_size:
        raise ValueError(f".ecdc files are for codebooks of a power of two, this codec's have {codec.codebook_size}")
    return bits


def _scale(data: memoryview) -> float:
    if len(data) < _SCALE.size:
        raise EOFError
    (scale,) = _SCALE.unpack_from(data)
    if not math.isfinite(scale):
        raise ValueError(f"damaged .ecdc file: a window has the scale {scale}")
    return scale


def _read_window(
    codec: Codec, data: memoryview, n_codebooks: int, n_frames: int, lm: EncodecLM | None
) -> tuple[Int[Tensor, "1 K T"], int]:
    """The codes of a window and how many bytes they took."""
    if lm is not None:
        return _decode(data, n_codebooks, n_frames, lm)
    n_bytes = -(-n_codebooks * n_frames * _bits(codec) // 8)
    if len(data) < n_bytes:
        raise EOFError
    values = unpack(data[:n_bytes], _bits(codec), n_codebooks * n_frames)
    codes = torch.from_numpy(values.reshape(n_frames, n_codebooks).T.copy())
    return codes[None].to(_device(codec)), n_bytes


@torch.inference_mode()
def _encode(codes: Int[Tensor, "1 K T"], lm: EncodecLM) -> bytes:
    encoder, state, previous = ArithmeticEncoder(), None, torch.zeros_like(codes[..., :1])
    for frame in codes.split(1, dim=-1):
        logits, state = lm(previous, state)
        for code, widths in zip(frame[0, :, 0].tolist(), _widths(logits), strict=True):
            encoder.push(code, widths)
        previous = frame + 1
    return encoder.finish()


@torch.inference_mode()
def _decode(data: memoryview, n_codebooks: int, n_frames: int, lm: EncodecLM) -> tuple[Int[Tensor, "1 K T"], int]:
    decoder, state, frames = ArithmeticDecoder(data), None, []
    previous = torch.zeros(1, n_codebooks, 1, dtype=torch.int64, device=lm.norm_in.weight.device)
    for _ in range(n_frames):
        logits, state = lm(previous, state)
        frame = torch.tensor([decoder.pull(widths) for widths in _widths(logits)], device=previous.device)
        frames.append(frame[None, :, None])
        previous = frames[-1] + 1
    return torch.cat(frames, dim=-1), decoder.n_bytes


def _widths(logits: Float[Tensor, "1 K 1 N"]) -> list[list[int]]:
    """Each codebook's `cumulative_widths`."""
    return cumulative_widths(probabilities(logits)[0, :, :, 0].T).tolist()
