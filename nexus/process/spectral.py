"""Distances between waveforms as spectra, over several window lengths: what codecs and vocoders are taught by.

Axes: B batch, C channels, L waveform samples.
"""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from nexus.media.features import MelConfig, log_mel, mel_filterbank, stft

# Window lengths and mel bins of the Descript codec (arXiv:2306.06546), without the two shortest.
MEL_SCALES = ((2048, 160), (1024, 100), (512, 64), (256, 32), (128, 16))


def mel_distance(
    output: Float[Tensor, "B C L"],
    target: Float[Tensor, "B C L"],
    sample_rate: int,
    scales: Sequence[tuple[int, int]] = MEL_SCALES,
    clamp: float = 1e-5,
) -> Float[Tensor, ""]:
    """Mean L1 distance of natural-log mel spectrograms, over (window, mel bins) pairs; hops are a quarter window."""
    both = torch.cat([output, target]).flatten(0, 1)  # [2 B C, L]
    distances = []
    for n_fft, n_mels in scales:
        config = MelConfig(
            sample_rate=sample_rate, n_fft=n_fft, hop_length=n_fft // 4, win_length=n_fft, n_mels=n_mels, clamp=clamp
        )
        a, b = log_mel(both, config).chunk(2)
        distances.append((a - b).abs().mean())
    return torch.stack(distances).mean()


def stft_distance(
    output: Float[Tensor, "B C L"], target: Float[Tensor, "B C L"], n_ffts: Sequence[int] = (2048, 1024, 512)
) -> Float[Tensor, ""]:
    """Multi-resolution STFT distance (Parallel WaveGAN, arXiv:1910.11480): spectral convergence + log-magnitude L1."""
    both = torch.cat([output, target]).flatten(0, 1).float()
    distances = []
    with torch.autocast(both.device.type, enabled=False):
        for n_fft in n_ffts:
            spectrum = stft(both, n_fft, n_fft // 4, n_fft, n_fft // 2)
            magnitude = (torch.view_as_real(spectrum).square().sum(-1) + 1e-9).sqrt()  # smooth at silence
            a, b = magnitude.chunk(2)
            convergence = torch.linalg.norm(a - b) / torch.linalg.norm(b).clamp(min=1e-6)
            distances.append(convergence + (a.log() - b.log()).abs().mean())
    return torch.stack(distances).mean()


def mel_reconstruction(
    output: Float[Tensor, "B C L"],
    target: Float[Tensor, "B C L"],
    sample_rate: int,
    n_ffts: Sequence[int] = (64, 128, 256, 512, 1024, 2048),
    n_mels: int = 64,
) -> Float[Tensor, ""]:
    """SoundStream's reconstruction loss (arXiv:2107.03312, eq. 4 and 5; arXiv:2008.01160), mean over items and frames.

    Sum over windows s of |S - S'|_1 + sqrt(s / 2) |log S - log S'|_2, S being a frame's mel magnitudes.
    """
    both = torch.cat([output, target]).flatten(0, 1)  # [2 B C, L]
    terms = []
    for n_fft in n_ffts:
        config = MelConfig(
            sample_rate=sample_rate, n_fft=n_fft, hop_length=n_fft // 4, win_length=n_fft, n_mels=n_mels, clamp=1e-5
        )
        a, b = log_mel(both, config).chunk(2)  # [B C, M, T]
        linear = (a.exp() - b.exp()).abs().sum(1).mean()
        terms.append(linear + (n_fft / 2) ** 0.5 * torch.linalg.vector_norm(a - b, dim=1).mean())
    return torch.stack(terms).sum()


def compressed_distances(
    output: Float[Tensor, "B C L"],
    target: Float[Tensor, "B C L"],
    sample_rate: int,
    scales: Sequence[tuple[int, int]] = ((32, 5), (64, 10), (128, 20), (256, 40), (512, 80), (1024, 160), (2048, 320)),
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """L1 distances of log(1 + mel) and of log(1 + |STFT|), each the mean over (window, mel bins) pairs: what NeMo's
    codecs are trained by (arXiv:2406.05298).

    What is quiet hardly counts, for one is added to magnitudes of unscaled STFTs, whose hops are a quarter window.
    """
    both = torch.cat([output, target]).flatten(0, 1).float()  # [2 B C, L]
    mels, magnitudes = [], []
    with torch.autocast(both.device.type, enabled=False):
        for n_fft, n_mels in scales:
            spectrum = stft(both, n_fft, n_fft // 4, n_fft, n_fft // 2)
            magnitude = (torch.view_as_real(spectrum).square().sum(-1) + 1e-5).sqrt()  # smooth at silence
            filters = mel_filterbank(sample_rate, n_fft, n_mels, scale="slaney").to(magnitude)
            for x, distances in ((filters @ magnitude, mels), (magnitude, magnitudes)):
                a, b = x.log1p().chunk(2)
                distances.append((a - b).abs().mean())
    return torch.stack(mels).mean(), torch.stack(magnitudes).mean()


def band_distance(
    output: Float[Tensor, "B F T"], target: Float[Tensor, "B F T"], sample_rate: int, floor: float, n_mels: int
) -> Float[Tensor, ""]:
    """L1 distance of natural-log mel magnitudes, of natural-log magnitudes; those below `floor` are equal."""
    n_fft = 2 * (output.shape[1] - 1)
    filters = mel_filterbank(sample_rate, n_fft, n_mels).to(device=output.device, dtype=torch.float32).mT
    with torch.autocast(output.device.type, enabled=False):
        a, b = ((x.float().mT.clamp(max=4.6).exp() @ filters).clamp(min=floor).log() for x in (output, target))
        return (a - b).abs().mean()


def magnitude_distances(
    output: Float[Tensor, "B F T"],
    target: Float[Tensor, "B F T"],
    sample_rate: int,
    floor: float,
    n_mels: int,
    n_bands: int = 56,
) -> dict[str, Float[Tensor, ""]]:
    """L1 distances between natural-log magnitudes of one STFT, seen in four ways.

    "log": as they are; "root": of square roots of magnitudes, in which what is loud counts. In both a bin at f Hz
    weighs (f + 300) ** -2 (1 on average): it is the harmonics below 1 kHz that have to be exact.
    "mel": of log mel magnitudes. "loudness": of mel powers to 0.23, near what is heard as loud (ITU-T P.862).
    Magnitudes below `floor` are equal.
    """
    a, b = (x.float().mT.clamp(min=math.log(floor), max=4.6) for x in (output, target))  # [B, T, F]
    n_bins = a.shape[-1]
    frequencies = torch.linspace(0, sample_rate / 2, n_bins, device=a.device)
    weight = (frequencies + 300) ** -2
    weight = weight / weight.mean()
    bands = mel_filterbank(sample_rate, 2 * (n_bins - 1), n_bands).to(device=a.device, dtype=torch.float32).mT
    with torch.autocast(a.device.type, enabled=False):
        x, y = a.exp(), b.exp()
        return {
            "log": ((a - b).abs() * weight).mean(),
            "root": (((a / 2).exp() - (b / 2).exp()).abs() * weight).mean(),
            "mel": band_distance(a.mT, b.mT, sample_rate, floor, n_mels),
            "loudness": ((x.square() @ bands + 1e-3) ** 0.23 - (y.square() @ bands + 1e-3) ** 0.23).abs().mean(),
        }
