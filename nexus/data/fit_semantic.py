"""Centres for semantic tokens, from a folder of recordings: all is heard once, a fair draw of frames clustered."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from nexus.codecs.semantic import SemanticConfig, SemanticTokens, SpeechEncoder
from nexus.media.audio_blocks import SoundBlocks, open_blocks, regular
from nexus.nn.k_means import Reservoir, mini_batch_k_means
from nexus.nn.quantize import nearest

Progress = Callable[[float | int, float | int, str], None]  # done, in all, of what


@dataclass(frozen=True, kw_only=True)
class Fit:
    tokens: SemanticTokens
    seconds: float  # of sound that were heard
    frames: int  # of them
    rows: int  # frames that were clustered
    passes: int
    distance: float  # mean squared distance of a row to its centre
    variance: float  # the same to the mean of all rows
    perplexity: float  # how many centres are in use, by the rows
    left_out: tuple[str, ...]  # files that could not be read


def fit_semantic(
    files: Sequence[Path],
    encoder: SpeechEncoder,
    *,
    layer: int,
    n_clusters: int,
    rows: int = 100_000,
    seed: int = 0,
    progress: Progress | None = None,
) -> Fit:
    """k-means over `rows` frames, drawn fairly from all; they are what is held in memory (4 bytes a number).

    Raises:
        ValueError: fewer frames than clusters, or no file that can be read.
    """
    config = SemanticConfig(
        n_clusters=n_clusters,
        dim=encoder.dim,
        layer=layer,
        hop_length=encoder.hop_length,
        field_length=encoder.field_length,
        sample_rate=encoder.extractor.sampling_rate,
    )
    if rows < n_clusters:
        raise ValueError(f"{n_clusters} clusters need at least as many rows, got {rows}")
    tokens = SemanticTokens(config)
    tokens.speech_encoder = encoder
    generator = torch.Generator().manual_seed(seed)
    drawn, seconds, left_out = _heard(tokens, files, Reservoir(rows, generator), seed, progress)
    if drawn.seen < n_clusters:
        why = f" ({left_out[0]})" if left_out else ""
        raise ValueError(f"{n_clusters} clusters need as many frames, {len(files)} files have {drawn.seen}{why}")

    def tell(done: int, total: int) -> None:
        if progress is not None:
            progress(done, total, f"clustering {len(drawn.rows)} frames")

    found = mini_batch_k_means(drawn.rows, n_clusters, generator, progress=tell)
    tokens.centres.copy_(found.centres)
    shares = torch.bincount(nearest(drawn.rows, found.centres), minlength=n_clusters) / len(drawn.rows)
    return Fit(
        tokens=tokens.eval(),
        seconds=seconds,
        frames=drawn.seen,
        rows=len(drawn.rows),
        passes=found.passes,
        distance=found.distance,
        variance=float((drawn.rows - drawn.rows.mean(0)).square().sum(-1).mean()),
        perplexity=float(torch.special.entr(shares).sum().exp()),
        left_out=left_out,
    )


def _heard(
    tokens: SemanticTokens, files: Sequence[Path], drawn: Reservoir, seed: int, progress: Progress | None
) -> tuple[Reservoir, float, tuple[str, ...]]:
    """Frames of all files in turn in an order that the seed draws."""
    order, seconds, left_out = list(files), 0.0, []
    random.Random(seed).shuffle(order)
    for i, path in enumerate(order):
        try:
            seconds += _hear(tokens, path, drawn)
        except (OSError, ValueError) as error:
            left_out.append(str(error) if str(path) in str(error) else f"{path}: {error}")
        if progress is not None:
            progress(i + 1, len(order), f"hearing {len(order)} files")
    return drawn, seconds, tuple(left_out)


def _hear(tokens: SemanticTokens, path: Path, drawn: Reservoir) -> float:
    """Gives the frames of a file, mixed down, window by window; how many seconds it lasts."""
    rate, n = tokens.sample_rate, 0
    sound = open_blocks(path)
    mono = (block.mean(axis=0, keepdims=True) for block in sound.blocks)
    blocks = SoundBlocks(rate=sound.rate, channels=1, blocks=mono).resample(rate).blocks
    place = next(tokens.speech_encoder.parameters()).device
    for block in regular(blocks, tokens.config.window * tokens.hop_length):
        n += block.shape[1]
        if block.shape[1] >= tokens.config.field_length:
            waveform = torch.from_numpy(np.ascontiguousarray(block))[None].to(place)
            drawn.add(tokens.features(waveform)[0])
    return n / rate
