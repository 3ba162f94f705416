"""NeMo's compressed distances against a plain writing-down with torch's own STFT."""

import math

import pytest
import torch

from nexus.media.features import mel_filterbank
from nexus.process.spectral import compressed_distances

SCALES = ((64, 10), (128, 20))


def test_compressed_distances_written_down():
    torch.manual_seed(0)
    a, b = 0.3 * torch.randn(2, 2, 1, 900)
    mels, magnitudes = [], []
    for n_fft, n_mels in SCALES:
        pair = [
            torch.stft(x[:, 0], n_fft, n_fft // 4, window=torch.hann_window(n_fft), return_complex=True).abs()
            for x in (a, b)
        ]
        filters = mel_filterbank(8000, n_fft, n_mels, scale="slaney").float()
        magnitudes.append(((pair[0] + 1).log() - (pair[1] + 1).log()).abs().mean())
        mels.append(((filters @ pair[0] + 1).log() - (filters @ pair[1] + 1).log()).abs().mean())
    mel, stft = compressed_distances(a, b, 8000, SCALES)
    assert mel.item() == pytest.approx(sum(mels).item() / 2, rel=1e-3)
    assert stft.item() == pytest.approx(sum(magnitudes).item() / 2, rel=1e-3)
    assert min(mel, stft) > 0.1


def test_what_is_quiet_hardly_counts():
    t = torch.arange(8000) / 8000
    x = torch.sin(2 * math.pi * 500 * t)[None, None]
    quiet = [d.item() for d in compressed_distances(1e-3 * x, 0 * x, 8000, SCALES)]
    loud = [d.item() for d in compressed_distances(x, 0 * x, 8000, SCALES)]
    assert all(q < 0.02 * d for q, d in zip(quiet, loud, strict=True))


def test_silence_has_a_gradient():
    x = torch.zeros(1, 1, 1000, requires_grad=True)
    sum(compressed_distances(x, torch.randn(1, 1, 1000), 8000, SCALES)).backward()
    assert x.grad is not None and x.grad.isfinite().all()
