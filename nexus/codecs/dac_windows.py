"""Compression in windows, as Descript's package does it: what `.dac` files of long sounds hold.

Each window is coded by itself with no convolution padded, so that it ends in fewer frames than it has samples for, and
decoded likewise to still fewer samples; windows overlap by what is lost. Any number of windows needs the memory of one.
Axes: R rows (a channel each), L waveform samples, D width, T frames, K codebooks.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from nexus.codecs.dac import Dac
from nexus.codecs.dac_file import DacFile
from nexus.media.audio import Audio
from nexus.media.audio_blocks import Pieces, SoundBlocks, fitted
from nexus.media.loudness import loudness_of_blocks
from nexus.media.spool import Spool
from nexus.nn.chain import Chain, Residual
from nexus.nn.conv import ConvTranspose1d, Windows

LOUDNESS = -16.0  # LUFS, what the official weights were trained on
_QUIETEST = -70.0  # LUFS, what silence is called

Levelled = Callable[[int, int], Tensor]  # samples [R, 1, L] from one place to another, at the level that is coded


def unpadded(layer: nn.Module, x: Float[Tensor, "B C L"]) -> Float[Tensor, "B D T"]:
    """Whole windows only: no convolution pads its input, no transposed one cuts its output."""
    if isinstance(layer, Chain):
        y = x
        for inner in layer.layers:
            y = unpadded(inner, y)
        edge = (x.shape[-1] - y.shape[-1]) // 2
        return x[..., edge : edge + y.shape[-1]] + y if isinstance(layer, Residual) else y
    return layer.conv(x) if isinstance(layer, Windows | ConvTranspose1d) else layer(x)  # type: ignore[operator]


def unpadded_length(layer: nn.Module, n: int) -> int:
    """Samples that `unpadded` makes of `n`; below zero where `n` is too few."""
    if isinstance(layer, Chain):
        for inner in layer.layers:
            n = unpadded_length(inner, n)
        return n
    if isinstance(layer, Windows):
        return (n - layer.extent) // layer.stride + 1
    return (n - 1) * layer.stride + 2 * layer.stride if isinstance(layer, ConvTranspose1d) else n


def unpadded_needs(layer: nn.Module, n: int) -> int:
    """The least samples of which `unpadded` makes at least `n`."""
    if isinstance(layer, Chain):
        for inner in reversed(layer.layers):
            n = unpadded_needs(inner, n)
        return n
    if isinstance(layer, Windows):
        return (n - 1) * layer.stride + layer.extent
    return -(-(n - 2 * layer.stride) // layer.stride) + 1 if isinstance(layer, ConvTranspose1d) else n


@dataclass(frozen=True)
class Geometry:
    """Samples of a window, samples from one to the next, and zeros before and after the sound."""

    n_samples: int
    hop: int
    delay: int


def geometry(codec: Dac, seconds: float) -> Geometry:
    """Of windows of about `seconds`, whole hops of the codec.

    Raises:
        ValueError: a window so short that nothing is left of it.
    """
    layers = Chain(codec.encoder, codec.decoder)
    n_samples = math.ceil(int(seconds * codec.sample_rate) / codec.hop_length) * codec.hop_length
    hop = unpadded_length(layers, n_samples)
    if unpadded_length(codec.encoder, n_samples) < 1 or hop < 1:
        least = math.ceil(unpadded_needs(layers, 1) / codec.sample_rate * 100) / 100
        raise ValueError(f"windows must have at least {least:g} seconds for this codec, got {seconds:g}")
    nothing = unpadded_length(layers, 0)
    return Geometry(n_samples, hop, (unpadded_needs(layers, nothing) - nothing) // 2)


def compress(
    codec: Dac, audio: Audio, *, n_codebooks: int | None = None, seconds: float = 5.0, loudness: float | None = LOUDNESS
) -> DacFile:
    """`compress_blocks` of a sound that is held."""
    blocks = SoundBlocks(rate=audio.rate, channels=audio.channels, blocks=iter([audio.samples]))
    return compress_blocks(codec, blocks, n_codebooks=n_codebooks, seconds=seconds, loudness=loudness)


@torch.inference_mode()
def compress_blocks(
    codec: Dac,
    sound: SoundBlocks,
    *,
    n_codebooks: int | None = None,
    seconds: float = 5.0,
    loudness: float | None = LOUDNESS,
) -> DacFile:
    """A sound of any rate, number of channels and length, in windows of `seconds` where it is longer.

    It is resampled to the codec's rate, brought to `loudness` (LUFS; None leaves it) and, channel by channel, below
    full scale; `decompress` undoes the first two. As its loudness is known only at its end, it waits on disk.

    Raises:
        ValueError: an empty sound.
    """
    lengths: list[int] = []
    counted = replace(sound, blocks=_counted(sound.blocks, lengths)).resample(codec.sample_rate)
    with Spool(sound.channels) as spool:
        heard = max(loudness_of_blocks(spool.filled(counted.blocks), codec.sample_rate), _QUIETEST)
        if not spool.length:
            raise ValueError("an empty sound has no codes; give at least one sample")
        gain = np.float32(1 if loudness is None else 10 ** ((loudness - heard) / 20))
        levelled = _levelled(spool, gain, np.maximum(spool.peak * gain, 1))
        whole = spool.length <= seconds * codec.sample_rate
        if whole:
            rows = levelled(0, spool.length).to(next(codec.parameters()).device)
            chunks = [codec.encode(rows, n_codebooks).cpu()]
        else:
            chunks = list(_coded(codec, levelled, spool.length, n_codebooks, seconds))
    return DacFile(
        codes=torch.cat(chunks, dim=-1).numpy().astype(np.uint16),
        chunk_length=chunks[0].shape[-1],
        original_length=sum(lengths),
        sample_rate=sound.rate,
        channels=sound.channels,
        padding=whole,
        loudness=heard,
    )


def _counted(blocks: Pieces, lengths: list[int]) -> Pieces:
    for block in blocks:
        lengths.append(block.shape[1])
        yield block


def _levelled(spool: Spool, gain: np.float32, peak: Float[np.ndarray, "R 1"]) -> Levelled:
    def read(start: int, stop: int) -> Float[Tensor, "R 1 _"]:
        return torch.from_numpy(spool.read(start, stop) * gain / peak)[:, None]

    return read


def _coded(
    codec: Dac, levelled: Levelled, length: int, n_codebooks: int | None, seconds: float
) -> Iterator[Int[Tensor, "R K T"]]:
    windows, place = geometry(codec, seconds), next(codec.parameters()).device
    for start in range(0, length, windows.hop):
        first = start - windows.delay
        cut, before = levelled(first, first + windows.n_samples), max(-first, 0)
        padded = F.pad(cut, (before, windows.n_samples - before - cut.shape[-1]))
        yield codec.quantizer.encode(unpadded(codec.encoder, padded.to(place)), n_codebooks).cpu()


def decompress(codec: Dac, file: DacFile) -> Audio:
    """`decompress_blocks`, held."""
    sound = decompress_blocks(codec, file)
    return Audio(np.concatenate([np.zeros((sound.channels, 0), np.float32), *sound.blocks], axis=1), sound.rate)


def decompress_blocks(codec: Dac, file: DacFile) -> SoundBlocks:
    """The sound of a file: its rate, its channels, its length and its loudness.

    Deviation: the original brings every channel by itself to the loudness of the whole sound, and so loses the balance.

    Raises:
        ValueError: codes that the codec cannot have made, or too few for the length that the file states.
    """
    sizes = [file.chunk_length] * (file.codes.shape[-1] // file.chunk_length)
    sizes += [rest] if (rest := file.codes.shape[-1] % file.chunk_length) else []
    of_size = {size: _length(codec, size, file.padding) for size in dict.fromkeys(sizes)}
    _check(codec, file, sum(of_size[size] for size in sizes))
    return SoundBlocks(
        rate=file.sample_rate, channels=file.channels, blocks=_sounding(codec, file), length=file.original_length
    )


def _sounding(codec: Dac, file: DacFile) -> Pieces:
    with Spool(file.channels) as spool:
        loudness = loudness_of_blocks(spool.filled(_decoded(codec, file)), codec.sample_rate)
        gain = np.float32(10 ** ((file.loudness - max(loudness, _QUIETEST)) / 20))
        louder = SoundBlocks(
            rate=codec.sample_rate, channels=file.channels, blocks=(part * gain for part in spool.blocks())
        )
        yield from fitted(louder.resample(file.sample_rate).blocks, file.channels, file.original_length)


def _decoded(codec: Dac, file: DacFile) -> Pieces:
    place = next(codec.parameters()).device
    for at in range(0, file.codes.shape[-1], file.chunk_length):
        part = torch.from_numpy(file.codes[..., at : at + file.chunk_length].astype(np.int64))
        with torch.inference_mode():
            latent = codec.quantizer.decode(part.to(place))
            waveform = codec.decoder(latent) if file.padding else unpadded(codec.decoder, latent)
        yield waveform[:, 0].float().cpu().numpy()


def _length(codec: Dac, n_frames: int, padding: bool) -> int:
    """Samples of a chunk."""
    if padding:
        return n_frames * codec.hop_length
    length = unpadded_length(codec.decoder, n_frames)
    if length < 1:
        raise ValueError(f"chunks of {n_frames} frames without padding have no sound with this codec")
    return length


def _check(codec: Dac, file: DacFile, length: int) -> None:
    if not 1 <= file.codes.shape[1] <= codec.n_codebooks:
        raise ValueError(f"this codec has {codec.n_codebooks} codebooks, the file codes of {file.codes.shape[1]}")
    if file.codes.max() >= codec.codebook_size:
        raise ValueError(f"codes must be 0 to {codec.codebook_size - 1}, the file has up to {file.codes.max()}")
    if file.original_length / file.sample_rate > length / codec.sample_rate + 1 / file.sample_rate:
        stated, there = file.original_length / file.sample_rate, length / codec.sample_rate
        raise ValueError(f"the file states {stated:g} s of sound, its codes are {there:g} s for this codec")
