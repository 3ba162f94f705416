"""What networks see of sound: log-mel spectrograms in the variants vocoders agree on, and chroma.

Axes: B batch, L waveform samples, M mel bins, P pitch classes, F frequency bins, T frames.
Filterbanks are computed in float64 and kept per (config, device).
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Complex, Float
from torch import Tensor

Scale = Literal["htk", "slaney"]
Padding = Literal["center", "same"]


@dataclass(frozen=True, kw_only=True)
class MelConfig:
    """One log-mel variant: logarithm of a mel-weighted magnitude spectrogram."""

    sample_rate: int = 24000
    n_fft: int = 1024
    hop_length: int = 256
    win_length: int = 1024  # Hann window, zero-padded to n_fft
    n_mels: int = 100
    f_min: float = 0.0
    f_max: float | None = None  # half the sample rate
    scale: Scale = "htk"
    norm: Literal["slaney"] | None = None  # "slaney": every filter has unit area in Hz
    padding: Padding = "center"  # reflected n_fft / 2 (T = L // hop + 1), or (n_fft - hop) / 2 (T = L // hop)
    magnitude_floor: float = 0.0  # added to |S|^2 under the root
    clamp: float = 1e-7  # smallest magnitude the logarithm sees
    logarithm: Literal["natural", "decimal"] = "natural"

    def __post_init__(self):
        if min(self.sample_rate, self.n_fft, self.hop_length, self.win_length, self.n_mels) < 1:
            raise ValueError(f"sample_rate, n_fft, hop_length, win_length and n_mels must be positive, got {self}")
        if self.win_length > self.n_fft:
            raise ValueError(f"win_length ({self.win_length}) must not exceed n_fft ({self.n_fft})")
        if self.logarithm not in ("natural", "decimal"):
            raise ValueError(f"logarithm must be 'natural' or 'decimal', got {self.logarithm!r}")
        if self.hop_length > self.n_fft:
            raise ValueError(f"hop_length ({self.hop_length}) must not exceed n_fft ({self.n_fft})")

    @staticmethod
    def vocos() -> "MelConfig":
        """Vocos (arXiv:2306.00814), `charactr/vocos-mel-24khz`."""
        return MelConfig(clamp=1e-7)

    @staticmethod
    def f5() -> "MelConfig":
        """F5-TTS (arXiv:2410.06885): Vocos with a higher floor."""
        return MelConfig(clamp=1e-5)

    @staticmethod
    def hifigan(
        sample_rate: int = 22050,
        n_fft: int = 1024,
        hop_length: int = 256,
        win_length: int = 1024,
        n_mels: int = 80,
        f_min: float = 0.0,
        f_max: float | None = 8000.0,
    ) -> "MelConfig":
        """HiFi-GAN (arXiv:2010.05646); with `f_max=None` and its sizes also BigVGAN (arXiv:2206.04658)."""
        return MelConfig(
            sample_rate=sample_rate,
            n_fft=n_fft,
            hop_length=hop_length,
            win_length=win_length,
            n_mels=n_mels,
            f_min=f_min,
            f_max=f_max,
            scale="slaney",
            norm="slaney",
            padding="same",
            magnitude_floor=1e-9,
            clamp=1e-5,
        )

    @staticmethod
    def speecht5() -> "MelConfig":
        """SpeechT5 (arXiv:2110.07205), `microsoft/speecht5_tts` and its vocoder."""
        return MelConfig(
            sample_rate=16000,
            n_mels=80,
            f_min=80.0,
            f_max=7600.0,
            scale="slaney",
            norm="slaney",
            clamp=1e-10,
            logarithm="decimal",
        )


def hertz_to_mel(frequency: Float[Tensor, " N"], scale: Scale) -> Float[Tensor, " N"]:
    """HTK: 2595 log10(1 + f/700). Slaney: 3 mels per 200 Hz up to 1 kHz, then 27 mels per factor 6.4."""
    if scale == "htk":
        return 2595 * torch.log10(1 + frequency / 700)
    log_part = 15 + 27 * torch.log(frequency.clamp(min=1000) / 1000) / torch.log(torch.tensor(6.4, dtype=torch.float64))
    return torch.where(frequency < 1000, frequency * 3 / 200, log_part)


def mel_to_hertz(mel: Float[Tensor, " N"], scale: Scale) -> Float[Tensor, " N"]:
    """Inverse of `hertz_to_mel`."""
    if scale == "htk":
        return 700 * (10 ** (mel / 2595) - 1)
    return torch.where(mel < 15, mel * 200 / 3, 1000 * 6.4 ** ((mel.clamp(min=15) - 15) / 27))


def mel_filterbank(
    sample_rate: int,
    n_fft: int,
    n_mels: int,
    f_min: float = 0.0,
    f_max: float | None = None,
    scale: Scale = "htk",
    norm: Literal["slaney"] | None = None,
) -> Float[Tensor, "M F"]:
    """Triangular filters over the n_fft // 2 + 1 bins, equally spaced in mel, in float64."""
    f_max = sample_rate / 2 if f_max is None else f_max
    if not 0 <= f_min < f_max <= sample_rate / 2:
        raise ValueError(f"mel range must lie in 0..{sample_rate / 2:g} Hz, got f_min={f_min:g}, f_max={f_max:g}")
    ends = hertz_to_mel(torch.tensor([f_min, f_max], dtype=torch.float64), scale)
    mels = torch.linspace(float(ends[0]), float(ends[1]), n_mels + 2, dtype=torch.float64)
    edges = mel_to_hertz(mels, scale)
    bins = torch.linspace(0, sample_rate / 2, n_fft // 2 + 1, dtype=torch.float64)
    distance = edges[:, None] - bins  # [M + 2, F]
    width = edges.diff()[:, None]
    rising, falling = -distance[:-2] / width[:-1], distance[2:] / width[1:]
    filters = torch.minimum(rising, falling).clamp(min=0)
    return filters if norm is None else filters * (2 / (edges[2:] - edges[:-2]))[:, None]


def chroma_filterbank(sample_rate: int, n_fft: int, n_pitch_classes: int = 12) -> Float[Tensor, "P F"]:
    """Gaussian bumps around every octave of each pitch class (C first, A = 440 Hz), after Ellis (2007); float64.

    Columns have unit norm and are weighted by a Gaussian over octaves, centred five octaves above 27.5 Hz.
    """
    bins = torch.arange(1, n_fft, dtype=torch.float64) * sample_rate / n_fft
    pitch = n_pitch_classes * torch.log2(bins / 27.5)
    pitch = torch.cat([pitch[:1] - 1.5 * n_pitch_classes, pitch])  # 0 Hz is put 1.5 octaves below bin 1
    width = torch.cat([pitch.diff().clamp(min=1), torch.ones(1, dtype=torch.float64)])
    half = round(n_pitch_classes / 2)
    distance = pitch - torch.arange(n_pitch_classes, dtype=torch.float64)[:, None]
    distance = torch.remainder(distance + half, n_pitch_classes) - half
    filters = F.normalize(torch.exp(-0.5 * (2 * distance / width) ** 2), dim=0)
    filters = filters * torch.exp(-0.5 * ((pitch / n_pitch_classes - 5) / 2) ** 2)
    return filters.roll(-3 * (n_pitch_classes // 12), dims=0)[:, : n_fft // 2 + 1]


@lru_cache(maxsize=64)
def _kept(kind: str, config: MelConfig | tuple[int, ...], device: torch.device, dtype: torch.dtype) -> Tensor:
    """A filterbank or window on its device; outside inference mode, so that training may use it later."""
    with torch.inference_mode(False), torch.no_grad():
        if isinstance(config, MelConfig):
            c = config
            table = mel_filterbank(c.sample_rate, c.n_fft, c.n_mels, c.f_min, c.f_max, c.scale, c.norm)
        elif kind == "chroma":
            table = chroma_filterbank(*config)
        else:
            table = torch.hann_window(*config, dtype=torch.float64)
        return table.to(device=device, dtype=dtype)


def stft(
    waveform: Float[Tensor, "B L"], n_fft: int, hop_length: int, win_length: int, pad: int
) -> Complex[Tensor, "B F T"]:
    """Hann-windowed short-time Fourier transform of the waveform, reflected by `pad` samples at both ends."""
    if waveform.shape[-1] <= pad:
        raise ValueError(f"a spectrogram with n_fft={n_fft} needs over {pad} samples, got {waveform.shape[-1]}")
    window = _kept("window", (win_length,), waveform.device, waveform.dtype)
    padded = F.pad(waveform, (pad, pad), mode="reflect") if pad else waveform
    return torch.stft(padded, n_fft, hop_length, win_length, window, center=False, return_complex=True)


def log_mel(waveform: Float[Tensor, "B L"], config: MelConfig) -> Float[Tensor, "B M T"]:
    """Log-mel spectrogram; float32 unless the waveform is float64."""
    waveform = waveform if waveform.dtype == torch.float64 else waveform.float()
    pad = config.n_fft // 2 if config.padding == "center" else (config.n_fft - config.hop_length) // 2
    with torch.autocast(waveform.device.type, enabled=False):
        spectrum = stft(waveform, config.n_fft, config.hop_length, config.win_length, pad)
        if config.magnitude_floor:
            magnitude = (torch.view_as_real(spectrum).square().sum(-1) + config.magnitude_floor).sqrt()
        else:
            magnitude = spectrum.abs()
        filters = _kept("mel", config, waveform.device, waveform.dtype)
        mel = (filters @ magnitude).clamp(min=config.clamp)
        return mel.log10() if config.logarithm == "decimal" else mel.log()


def chroma(
    waveform: Float[Tensor, "B L"], sample_rate: int, n_fft: int = 16384, hop_length: int = 4096
) -> Float[Tensor, "B P T"]:
    """Energy of the 12 pitch classes, C first, each frame scaled to a maximum of 1; T = L // hop_length + 1.

    A waveform shorter than n_fft is centred in silence of that length.
    """
    waveform = waveform if waveform.dtype == torch.float64 else waveform.float()
    missing = max(n_fft - waveform.shape[-1], 0)
    waveform = F.pad(waveform, (missing // 2, missing - missing // 2))
    with torch.autocast(waveform.device.type, enabled=False):
        power = stft(waveform, n_fft, hop_length, n_fft, n_fft // 2).abs().square()
        power = power / _kept("window", (n_fft,), waveform.device, waveform.dtype).square().sum()
        energy = _kept("chroma", (sample_rate, n_fft), waveform.device, waveform.dtype) @ power
        return F.normalize(energy, p=float("inf"), dim=1, eps=1e-6)


def chroma_one_hot(
    waveform: Float[Tensor, "B L"], sample_rate: int = 32000, n_fft: int = 16384, hop_length: int = 4096
) -> Float[Tensor, "B P T"]:
    """The loudest pitch class of every frame, as MusicGen's melody (arXiv:2306.05284, section 3.2) hears it."""
    energy = chroma(waveform, sample_rate, n_fft, hop_length)
    return F.one_hot(energy.argmax(1), energy.shape[1]).mT.to(energy.dtype)
