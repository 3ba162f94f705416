"""Compression in windows, as Descript's package does it: what `.dac` files of long sounds hold.

Each window is coded by itself with no convolution padded, so that it ends in fewer frames than it has samples for, and
decoded likewise to still fewer samples; windows overlap by what is lost. Any number of windows needs the memory of one.
Axes: R rows (a channel each), L waveform samples, D width, T frames, K codebooks.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from nexus.codecs.dac import Dac
from nexus.codecs.dac_file import DacFile
from nexus.media.audio import Audio
from nexus.nn.chain import Chain, Residual
from nexus.nn.conv import ConvTranspose1d, Windows

LOUDNESS = -16.0  # LUFS, what the official weights were trained on
_QUIETEST = -70.0  # LUFS, what silence is called


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


@torch.inference_mode()
def compress(
    codec: Dac, audio: Audio, *, n_codebooks: int | None = None, seconds: float = 5.0, loudness: float | None = LOUDNESS
) -> DacFile:
    """A sound of any rate, number of channels and length, in windows of `seconds` where it is longer.

    It is resampled to the codec's rate, brought to `loudness` (LUFS; None leaves it) and, channel by channel, below
    full scale; `decompress` undoes the first two.

    Raises:
        ValueError: an empty sound.
    """
    if not audio.length:
        raise ValueError("an empty sound has no codes; give at least one sample")
    sound = audio.resample(codec.sample_rate)
    heard = max(sound.loudness(), _QUIETEST)
    sound = sound if loudness is None else sound.gain(loudness - heard)
    rows = torch.from_numpy(sound.samples / np.maximum(np.abs(sound.samples).max(axis=1, keepdims=True), 1))[:, None]
    whole = sound.length <= seconds * codec.sample_rate
    chunks = (
        [codec.encode(rows.to(next(codec.parameters()).device), n_codebooks).cpu()]
        if whole
        else list(_coded(codec, rows, n_codebooks, seconds))
    )
    return DacFile(
        codes=torch.cat(chunks, dim=-1).numpy().astype(np.uint16),
        chunk_length=chunks[0].shape[-1],
        original_length=audio.length,
        sample_rate=audio.rate,
        channels=audio.channels,
        padding=whole,
        loudness=heard,
    )


def _coded(
    codec: Dac, rows: Float[Tensor, "R 1 L"], n_codebooks: int | None, seconds: float
) -> Iterator[Int[Tensor, "R K T"]]:
    windows, place = geometry(codec, seconds), next(codec.parameters()).device
    for start in range(0, rows.shape[-1], windows.hop):
        first = start - windows.delay
        cut = rows[..., max(first, 0) : max(first + windows.n_samples, 0)]
        before = max(-first, 0)
        padded = F.pad(cut, (before, windows.n_samples - before - cut.shape[-1]))
        yield codec.quantizer.encode(unpadded(codec.encoder, padded.to(place)), n_codebooks).cpu()


@torch.inference_mode()
def decompress(codec: Dac, file: DacFile) -> Audio:
    """The sound of a file: its rate, its channels, its length and its loudness.

    Deviation: the original brings every channel by itself to the loudness of the whole sound, and so loses the balance.

    Raises:
        ValueError: codes that the codec cannot have made, or too few for the length that the file states.
    """
    chunks = range(0, file.codes.shape[-1], file.chunk_length)
    codes = [torch.from_numpy(file.codes[..., at : at + file.chunk_length].astype(np.int64)) for at in chunks]
    _check(codec, file, sum(_length(codec, part.shape[-1], file.padding) for part in codes))
    place = next(codec.parameters()).device
    pieces = []
    for part in codes:
        latent = codec.quantizer.decode(part.to(place))
        waveform = codec.decoder(latent) if file.padding else unpadded(codec.decoder, latent)
        pieces.append(waveform.float().cpu())
    sound = Audio(torch.cat(pieces, dim=-1)[:, 0], codec.sample_rate)
    sound = sound.gain(file.loudness - max(sound.loudness(), _QUIETEST))
    return sound.resample(file.sample_rate).fit(file.original_length)


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
