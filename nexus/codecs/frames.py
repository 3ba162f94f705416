"""A codec's encoder and decoder at frame rate: log-mel frames in, the spectrogram of a Vocos out.

Beside EnCodec's SEANet this is cheap to run and to learn (an hour on one processor core), in the manner of spectral
codecs (arXiv:2406.05298): ConvNeXt over mel frames, a residual quantiser, and a Vocos (arXiv:2306.00814).
Axes: B batch, L waveform samples, M mel bins, T frames, D width.
"""

from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor, nn

from nexus.codecs.vocos import Vocos, VocosConfig
from nexus.media.features import mel_filterbank
from nexus.nn.conv import Conv1d, ConvTranspose1d, Windows
from nexus.nn.convnext import ConvNeXt


@dataclass(frozen=True, kw_only=True)
class FrameCoderConfig:
    """Both sides work on frames `vocos.hop_length` apart; `ratio` of them make one frame of codes."""

    ratio: int = 2
    n_fft: int = 1440  # of the encoder's spectrogram
    n_mels: int = 128
    dim: int = 192  # of the encoder
    hidden_dim: int = 576
    n_layers: int = 4
    vocos: VocosConfig = field(
        default_factory=lambda: VocosConfig(
            hop_length=240, n_features=128, padding="same", dim=192, hidden_dim=576, n_layers=6
        )
    )

    def __post_init__(self):
        if self.vocos.padding != "same":
            raise ValueError(f"a codec's Vocos needs padding 'same' to keep the length, got {self.vocos.padding!r}")

    @property
    def hop_length(self) -> int:
        return self.ratio * self.vocos.hop_length


class LogMel(nn.Module):
    """Log-mel frames of whole windows, about unit scale."""

    window: Tensor
    filters: Tensor

    def __init__(self, sample_rate: int, n_fft: int, hop_length: int, n_mels: int):
        super().__init__()
        self.hop_length = hop_length
        filters = mel_filterbank(sample_rate, n_fft, n_mels).float()
        self.register_buffer("window", torch.hann_window(n_fft), persistent=False)
        self.register_buffer("filters", filters, persistent=False)

    def forward(self, waveform: Float[Tensor, "B 1 L"]) -> Float[Tensor, "B M T"]:
        windows = waveform[:, 0].float().unfold(-1, len(self.window), self.hop_length) * self.window.float()
        magnitude = torch.view_as_real(torch.fft.rfft(windows)).square().sum(-1).sqrt()
        return (((magnitude @ self.filters.float().mT).clamp(min=1e-4).log() + 3) / 3).mT.to(self.filters.dtype)


class FrameEncoder(ConvNeXt):
    """Frames at the codes' rate to the latent."""

    def __init__(self, config: FrameCoderConfig, latent_dim: int):
        super().__init__(config.dim, config.dim, config.hidden_dim, config.n_layers)
        self.out = nn.Conv1d(config.dim, latent_dim, 1)

    def forward(self, x: Float[Tensor, "B C T"]) -> Float[Tensor, "B D T"]:
        return self.out(self.hidden(x))

    def stream(
        self, x: Float[Tensor, "B C T"], state: dict | None, last: bool = False
    ) -> tuple[Float[Tensor, "B D U"], dict]:
        x, state = self.stream_hidden(x, state, last)
        return (self.out(x) if x.shape[-1] else x.new_zeros(x.shape[0], self.out.out_channels, 0)), state


def encoder_layers(config: FrameCoderConfig, sample_rate: int, latent_dim: int) -> nn.ModuleList:
    """Waveform [B, 1, L] to latent [B, D, T]."""
    hop = config.vocos.hop_length
    mel = LogMel(sample_rate, config.n_fft, hop, config.n_mels)
    frames = Windows(mel, config.n_mels, extent=config.n_fft, stride=hop, causal=False, pad_mode="constant")
    down = Conv1d(config.n_mels, config.dim, 2 * config.ratio, stride=config.ratio)
    return nn.ModuleList([frames, down, FrameEncoder(config, latent_dim)])


def decoder_layers(config: FrameCoderConfig, latent_dim: int) -> nn.ModuleList:
    """Latent [B, D, T] to waveform [B, 1, L]."""
    up = ConvTranspose1d(latent_dim, config.vocos.n_features, 2 * config.ratio, stride=config.ratio)
    return nn.ModuleList([up, Vocos(config.vocos)])
