import sys
import types

import librosa
import numpy as np
import pytest
import torch
from transformers.audio_utils import chroma_filter_bank, mel_filter_bank

from nexus.media.features import MelConfig, chroma, chroma_filterbank, chroma_one_hot, log_mel, mel_filterbank


@pytest.fixture(scope="module")
def waveform():
    rng = torch.Generator().manual_seed(0)
    t = torch.arange(24001) / 24000
    tones = torch.stack([torch.sin(440 * 6.2832 * t), 0.3 * torch.sin(1000 * 6.2832 * t**2)])
    return tones + 0.01 * torch.randn(2, 24001, generator=rng)


def reference_spectrogram(x, n_fft, hop, *, power, normalized=False, win_length=None):
    """torch.stft with its own centring, as torchaudio's `Spectrogram` is documented to compute it."""
    window = torch.hann_window(win_length or n_fft)
    out = torch.stft(x, n_fft, hop, win_length or n_fft, window, center=True, pad_mode="reflect", return_complex=True)
    out = out / window.pow(2).sum().sqrt() if normalized else out
    return out.abs().pow(power)


@pytest.mark.parametrize("f_max", [None, 8000.0])
def test_filterbanks_match_the_references(f_max):
    htk = mel_filter_bank(513, 100, 0.0, f_max or 12000.0, 24000, norm=None, mel_scale="htk")
    ours = mel_filterbank(24000, 1024, 100, 0.0, f_max)
    np.testing.assert_allclose(ours.numpy(), htk.T, atol=1e-10)
    slaney = librosa.filters.mel(sr=22050, n_fft=1024, n_mels=80, fmin=30.0, fmax=f_max, dtype=np.float64)
    ours = mel_filterbank(22050, 1024, 80, 30.0, f_max, "slaney", "slaney")
    np.testing.assert_allclose(ours.numpy(), slaney, atol=1e-12)


def test_chroma_filterbank_matches_both_references():
    ours = chroma_filterbank(32000, 16384).numpy()
    np.testing.assert_allclose(ours, librosa.filters.chroma(sr=32000, n_fft=16384, dtype=np.float64), atol=1e-10)
    np.testing.assert_allclose(ours, chroma_filter_bank(16384, 12, 32000), atol=1e-10)


@pytest.mark.parametrize(("config", "clamp"), [(MelConfig.vocos(), 1e-7), (MelConfig.f5(), 1e-5)])
def test_vocos_and_f5_mel(waveform, config, clamp):
    filters = torch.from_numpy(mel_filter_bank(513, 100, 0.0, 12000.0, 24000, norm=None, mel_scale="htk")).float()
    expected = (filters.T @ reference_spectrogram(waveform, 1024, 256, power=1)).clamp(min=clamp).log()
    mel = log_mel(waveform, config)
    assert mel.shape == (2, 100, 24001 // 256 + 1) and mel.std() > 0.1
    torch.testing.assert_close(mel, expected, atol=1e-4, rtol=1e-4)


def test_the_vocos_class_agrees(waveform, monkeypatch):
    """The published extractor, over a MelSpectrogram built from transformers' filterbank in torchaudio's place."""

    class MelSpectrogram(torch.nn.Module):
        def __init__(self, sample_rate, n_fft, hop_length, n_mels, power, center, win_length=None, **_):
            super().__init__()
            assert power == 1 and center
            bank = mel_filter_bank(n_fft // 2 + 1, n_mels, 0.0, sample_rate / 2, sample_rate, mel_scale="htk")
            self.n_fft, self.hop_length, self.bank = n_fft, hop_length, torch.from_numpy(bank).float().T

        def forward(self, x):
            return self.bank @ reference_spectrogram(x, self.n_fft, self.hop_length, power=1)

    torchaudio, transforms = types.ModuleType("torchaudio"), types.ModuleType("torchaudio.transforms")
    torchaudio.transforms, transforms.MelSpectrogram = transforms, MelSpectrogram
    windows = types.ModuleType("torchaudio.functional.functional")
    windows._hz_to_mel = windows._mel_to_hz = None
    encodec = types.ModuleType("encodec")
    encodec.EncodecModel = object
    stubs = [torchaudio, transforms, encodec, types.ModuleType("torchaudio.functional"), windows]
    for module in stubs:
        module.__path__ = []
        monkeypatch.setitem(sys.modules, module.__name__, module)
    known = set(sys.modules)
    try:
        extractors = pytest.importorskip("vocos.feature_extractors", exc_type=ImportError)
        theirs = extractors.MelSpectrogramFeatures(24000, 1024, 256, 100, padding="center")(waveform)
        torch.testing.assert_close(log_mel(waveform, MelConfig.vocos()), theirs, atol=1e-4, rtol=1e-4)
    finally:
        for name in set(sys.modules) - known:
            if name.startswith("vocos"):
                del sys.modules[name]


@pytest.mark.parametrize("f_max", [None, 8000.0])
def test_hifigan_mel(waveform, f_max):
    config = MelConfig.hifigan(sample_rate=24000, n_mels=100, f_max=f_max)
    filters = torch.from_numpy(librosa.filters.mel(sr=24000, n_fft=1024, n_mels=100, fmin=0, fmax=f_max))
    padded = torch.nn.functional.pad(waveform[:, None], (384, 384), mode="reflect")[:, 0]
    spectrum = torch.stft(padded, 1024, 256, 1024, torch.hann_window(1024), center=False, return_complex=True)
    magnitude = torch.sqrt(torch.view_as_real(spectrum).pow(2).sum(-1) + 1e-9)
    expected = (filters @ magnitude).clamp(min=1e-5).log()
    mel = log_mel(waveform, config)
    assert mel.shape[-1] == 24001 // 256 and mel.std() > 0.1
    torch.testing.assert_close(mel, expected, atol=1e-4, rtol=1e-4)


def test_mel_keeps_batch_items_apart_and_passes_gradients(waveform):
    mel = log_mel(waveform, MelConfig.vocos())
    torch.testing.assert_close(log_mel(waveform[1:], MelConfig.vocos()), mel[1:])
    x = torch.cat([waveform, torch.zeros(1, 24001)]).requires_grad_()
    log_mel(x, MelConfig.f5()).sum().backward()
    assert x.grad is not None and x.grad.isfinite().all() and x.grad[:2].abs().min(dim=1).values.shape == (2,)
    assert (x.grad[:2] != 0).float().mean() > 0.99


def test_tables_made_in_inference_mode_serve_training():
    config = MelConfig(n_mels=17, n_fft=256, hop_length=64, win_length=200)
    x = torch.randn(1, 1000, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        quiet = log_mel(x, config)
    y = x.clone().requires_grad_()
    loud = log_mel(y, config)
    loud.sum().backward()
    torch.testing.assert_close(quiet.clone(), loud.detach())
    assert log_mel(x.double(), config).dtype == torch.float64 and log_mel(x.bfloat16(), config).dtype == torch.float32


def test_wrong_sizes_are_refused(waveform):
    with pytest.raises(ValueError, match="over 512 samples"):
        log_mel(waveform[:, :512], MelConfig.vocos())
    with pytest.raises(ValueError, match="win_length"):
        MelConfig(win_length=2048)
    with pytest.raises(ValueError, match="f_max"):
        mel_filterbank(16000, 1024, 80, 0.0, 9000.0)


def test_chroma_names_the_note():
    t = torch.arange(64000) / 32000
    notes = torch.stack([torch.sin(6.283185307 * f * t) for f in (261.626, 440.0, 739.989)])  # C4, A4, F sharp 5
    one_hot = chroma_one_hot(notes)
    assert one_hot.shape == (3, 12, 64000 // 4096 + 1)
    assert one_hot.argmax(1).mode(1).values.tolist() == [0, 9, 6]
    assert (one_hot.sum(1) == 1).all()
    assert (chroma(notes, 32000).amax(1) == 1).all()


@pytest.mark.parametrize("length", [70001, 9001, 0])
def test_chroma_matches_the_steps_of_the_reference(length):
    x = torch.randn(2, length, generator=torch.Generator().manual_seed(2))
    missing = max(16384 - length, 0)
    padded = torch.nn.functional.pad(x, (missing // 2, missing - missing // 2))
    filters = torch.from_numpy(chroma_filter_bank(16384, 12, 32000)).float()
    power = reference_spectrogram(padded, 16384, 4096, power=2, normalized=True)
    expected = torch.nn.functional.normalize(filters @ power, p=float("inf"), dim=1, eps=1e-6)
    torch.testing.assert_close(chroma(x, 32000), expected, atol=1e-4, rtol=1e-4)


def test_melody_matches_the_feature_extractor(monkeypatch):
    """`MusicgenMelodyFeatureExtractor` itself, given a Spectrogram in torchaudio's place."""
    module = pytest.importorskip("transformers.models.musicgen_melody.feature_extraction_musicgen_melody")

    def spectrogram(n_fft, win_length, hop_length, power, center, pad, normalized):
        return lambda x: reference_spectrogram(x, n_fft, hop_length, power=power, normalized=normalized)

    transforms = types.SimpleNamespace(Spectrogram=spectrogram)
    monkeypatch.setattr(module, "torchaudio", types.SimpleNamespace(transforms=transforms), raising=False)
    extractor = module.MusicgenMelodyFeatureExtractor.__new__(module.MusicgenMelodyFeatureExtractor)
    extractor.n_fft = 16384
    extractor.chroma_filters = torch.from_numpy(chroma_filter_bank(16384, 12, 32000)).float()
    extractor.spectrogram = spectrogram(16384, 16384, 4096, 2, True, 0, True)
    t = torch.arange(96000) / 32000
    x = torch.stack([torch.sin(2000 * t * (1 + t)), torch.sin(3000 * t)]) + 0.05 * torch.randn(
        2, 96000, generator=torch.Generator().manual_seed(3)
    )
    theirs = extractor._torch_extract_fbank_features(x)
    assert torch.equal(chroma_one_hot(x).mT, theirs)
    assert len(theirs.argmax(-1).unique()) > 3
