"""Files of codes by their suffix: our own `.nxc` for any codec, `.ecdc` for EnCodec, `.dac` for DAC."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nexus.codecs.long_sounds import CodedSound
    from nexus.media.audio_blocks import SoundBlocks

LARGEST = 1 << 30  # bytes of a file of codes; a day at 24 kb/s has a quarter of it


@dataclass(frozen=True, kw_only=True)
class Encoded:
    """A file of codes, and what it is of."""

    data: bytes
    seconds: float
    channels: int
    rows: int  # of codes; channels that were coded together share one
    codebooks: int


@dataclass(frozen=True, kw_only=True)
class Job:
    """What reading and writing a file takes: the codec, a language model of its codes or None, how many codebooks to
    write (None for all), and whether the user named the codec himself, so that it need not be the file's."""

    codec: Any
    lm: Any = None
    codebooks: int | None = None
    chosen: bool = False


@dataclass(frozen=True, kw_only=True)
class Format:
    """`encode(job, sound, notes)` gives a file of a sound and says what was done to it, `named(data)` the codec that a
    file wants, `decode(job, data)` its sound."""

    default_model: str
    kinds: tuple[str, ...]  # classes of codecs; () for any
    encode: "Callable[[Job, SoundBlocks, list[str]], Encoded]"
    named: Callable[[bytes], str]
    decode: "Callable[[Job, bytes], SoundBlocks]"
    takes_lm: bool = False


def format_of(path: Path) -> Format:
    """Raises ValueError for a suffix that is none of codes."""
    from nexus.media.io import check_suffix

    return FORMATS[check_suffix(path, tuple(FORMATS))]


def read_file(path: Path) -> bytes:
    """Raises OSError; ValueError where it is larger than any file of codes."""
    size = path.stat().st_size
    if size > LARGEST:
        raise ValueError(f"{path} has {size} bytes; files of codes have at most {LARGEST}")
    return path.read_bytes()


def prepare(sound: "SoundBlocks", codec: Any, notes: list[str]) -> "SoundBlocks":
    """The sound as the codec takes it; `notes` tell what was done."""
    from nexus.codecs.long_sounds import as_channels

    if sound.rate != codec.sample_rate:
        notes.append(f"resampled from {sound.rate} to {codec.sample_rate} Hz")
    prepared, said = as_channels(sound.resample(codec.sample_rate), codec)
    notes += [said] if said else []
    return prepared


def _coded(job: Job, sound: "SoundBlocks", notes: list[str]) -> "CodedSound":
    from nexus.codecs.long_sounds import encode_long

    return encode_long(job.codec, prepare(sound, job.codec, notes), job.codebooks)


def _encoded(data: bytes, coded: "CodedSound", codec: Any) -> Encoded:
    rows, codebooks, _ = coded.codes.shape
    seconds = coded.length / codec.sample_rate
    return Encoded(data=data, seconds=seconds, channels=coded.channels, rows=rows, codebooks=codebooks)


def _encode_nxc(job: Job, sound: "SoundBlocks", notes: list[str]) -> Encoded:
    from nexus.codecs.codes_file import write_codes

    codec, coded = job.codec, _coded(job, sound, notes)
    data = write_codes(
        coded,
        codec=codec.info.name,
        weights_hash=codec.info.weights_hash,
        sample_rate=codec.sample_rate,
        codebook_size=codec.codebook_size,
    )
    return _encoded(data, coded, codec)


def _named_nxc(data: bytes) -> str:
    from nexus.codecs.codes_file import read_codes

    return read_codes(data)[0].codec


def _decode_nxc(job: Job, data: bytes) -> "SoundBlocks":
    from nexus.codecs.codes_file import read_codes
    from nexus.codecs.long_sounds import decode_long

    (head, coded), info = read_codes(data), job.codec.info
    if not job.chosen and head.weights_hash != info.weights_hash:
        raise ValueError(
            f"the weights of {head.codec} are {info.weights_hash}, the codes are of {head.weights_hash}; "
            "name the weights that made them with --model"
        )
    if (head.sample_rate, head.codebook_size) != (job.codec.sample_rate, job.codec.codebook_size):
        raise ValueError(
            f"{info.name} has {job.codec.sample_rate} Hz and codebooks of {job.codec.codebook_size}, the codes "
            f"{head.sample_rate} Hz and {head.codebook_size}; they are of {head.codec}"
        )
    return decode_long(job.codec, coded)


ECDC_MODELS = {"encodec_24khz": "facebook/encodec_24khz", "encodec_48khz": "facebook/encodec_48khz"}


def _encode_ecdc(job: Job, sound: "SoundBlocks", notes: list[str]) -> Encoded:
    import torch

    from nexus.codecs.ecdc import Coded, write

    if job.codec.channels == 1 and sound.channels > 1:
        raise ValueError(
            f"an .ecdc file of this codec holds one channel, the sound has {sound.channels}; .nxc holds them"
        )
    coded = _coded(job, sound, notes)
    scales = torch.from_numpy(coded.side["scales"]) if coded.side else None
    data = write(job.codec, Coded(torch.from_numpy(coded.codes).long(), scales, coded.length), job.lm)
    return _encoded(data, coded, job.codec)


def _named_ecdc(data: bytes) -> str:
    from nexus.codecs.ecdc import read_metadata

    name = read_metadata(data)[0].model
    return ECDC_MODELS.get(name, name)


def _decode_ecdc(job: Job, data: bytes) -> "SoundBlocks":
    from nexus.codecs.ecdc import read
    from nexus.codecs.long_sounds import CodedSound, decode_long

    found = read(job.codec, data, job.lm)
    side = {} if found.scales is None else {"scales": found.scales.cpu().numpy()}
    codes, channels = found.codes.int().cpu().numpy(), job.codec.channels
    return decode_long(job.codec, CodedSound(codes=codes, length=found.length, channels=channels, side=side))


def _encode_dac(job: Job, sound: "SoundBlocks", notes: list[str]) -> Encoded:
    from nexus.codecs.dac_file import write_dac
    from nexus.codecs.dac_windows import compress_blocks

    prepare(sound, job.codec, notes)  # for its notes: the format resamples by itself
    file = compress_blocks(job.codec, sound, n_codebooks=job.codebooks)
    seconds, (rows, codebooks, _) = file.original_length / file.sample_rate, file.codes.shape
    return Encoded(data=write_dac(file), seconds=seconds, channels=file.channels, rows=rows, codebooks=codebooks)


def _decode_dac(job: Job, data: bytes) -> "SoundBlocks":
    from nexus.codecs.dac_file import read_dac
    from nexus.codecs.dac_windows import decompress_blocks

    return decompress_blocks(job.codec, read_dac(data))


FORMATS = {
    ".nxc": Format(
        default_model="nexus/encodec-tiny", kinds=(), encode=_encode_nxc, named=_named_nxc, decode=_decode_nxc
    ),
    ".ecdc": Format(
        default_model="nexus/encodec-tiny",
        kinds=("Encodec", "WindowedEncodec"),
        encode=_encode_ecdc,
        named=_named_ecdc,
        decode=_decode_ecdc,
        takes_lm=True,
    ),
    ".dac": Format(
        default_model="descript/dac_44khz",
        kinds=("Dac",),
        encode=_encode_dac,
        named=lambda data: "descript/dac_44khz",  # its files name no weights
        decode=_decode_dac,
    ),
}
