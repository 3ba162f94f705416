"""A codec's encoder and decoder at frame rate: log-mel frames to a latent, the latent to log-mel frames and a Vocos.

Beside EnCodec's SEANet this is cheap to run and to learn (within an hour on one processor core), in the manner of
spectral codecs (arXiv:2406.05298): ConvNeXt over mel frames on either side of a residual quantiser, and a Vocos
(arXiv:2306.00814), which may have learnt before and apart.
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
    """The mel frames are those of `vocos`; `ratio` of them make one frame of codes."""

    ratio: int = 2
    dim: int = 192
    hidden_dim: int = 576
    n_layers: int = 4  # on either side
    vocos: VocosConfig = field(
        default_factory=lambda: VocosConfig(padding="same", dim=192, hidden_dim=576, n_layers=6)
    )

    def __post_init__(self):
        if self.vocos.padding != "same":
            raise ValueError(f"a codec's Vocos needs padding 'same' to keep the length, got {self.vocos.padding!r}")

    @property
    def hop_length(self) -> int:
        return self.ratio * self.vocos.hop_length


class LogMel(nn.Module):
    """Natural-log mel frames of whole windows."""

    window: Tensor
    filters: Tensor

    def __init__(self, config: VocosConfig):
        super().__init__()
        self.hop_length = config.hop_length
        filters = mel_filterbank(config.sample_rate, config.n_fft, config.n_features).float()
        self.register_buffer("window", torch.hann_window(config.n_fft), persistent=False)
        self.register_buffer("filters", filters, persistent=False)

    def forward(self, waveform: Float[Tensor, "B 1 L"]) -> Float[Tensor, "B M T"]:
        windows = waveform[:, 0].float().unfold(-1, len(self.window), self.hop_length) * self.window.float()
        magnitude = torch.view_as_real(torch.fft.rfft(windows)).square().sum(-1).sqrt()
        return (magnitude @ self.filters.float().mT).clamp(min=1e-5).log().mT.to(self.filters.dtype)


class FrameCoder(ConvNeXt):
    """ConvNeXt at the codes' rate, and a projection."""

    def __init__(self, config: FrameCoderConfig, in_channels: int, out_channels: int):
        super().__init__(in_channels, config.dim, config.hidden_dim, config.n_layers)
        self.out = nn.Conv1d(config.dim, out_channels, 1)

    def forward(self, x: Float[Tensor, "B C T"]) -> Float[Tensor, "B D T"]:
        return self.out(self.hidden(x))

    def stream(
        self, x: Float[Tensor, "B C T"], state: dict | None, last: bool = False
    ) -> tuple[Float[Tensor, "B D U"], dict]:
        x, state = self.stream_hidden(x, state, last)
        return (self.out(x) if x.shape[-1] else x.new_zeros(x.shape[0], self.out.out_channels, 0)), state


def encoder_layers(config: FrameCoderConfig, latent_dim: int) -> nn.ModuleList:
    """Waveform [B, 1, L] to mel frames, to latent [B, D, T]."""
    vocos = config.vocos
    mel = Windows(
        LogMel(vocos), vocos.n_features, extent=vocos.n_fft, stride=vocos.hop_length, causal=False, pad_mode="constant"
    )
    down = Conv1d(vocos.n_features, config.dim, 2 * config.ratio, stride=config.ratio)
    return nn.ModuleList([mel, down, FrameCoder(config, config.dim, latent_dim)])


def decoder_layers(config: FrameCoderConfig, latent_dim: int) -> nn.ModuleList:
    """Latent [B, D, T] to mel frames, to waveform [B, 1, L]."""
    up = ConvTranspose1d(config.dim, config.vocos.n_features, 2 * config.ratio, stride=config.ratio)
    return nn.ModuleList([FrameCoder(config, latent_dim, config.dim), up, Vocos(config.vocos)])
