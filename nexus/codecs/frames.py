"""A codec's encoder and decoder at frame rate: log-mel frames to a latent, the latent to log-mel frames and a Vocos.

Beside EnCodec's SEANet this is cheap to run and to learn, in the manner of spectral codecs (arXiv:2406.05298). The
encoder is linear: the principal axes of a few mel frames in a row, found in closed form (`fit`), as the codebooks are
by k-means. The decoder is the transpose of that, a ConvNeXt that mends what is left, and a Vocos (arXiv:2306.00814).
Axes: B batch, L waveform samples, M mel bins, T frames, D latent width, R rows.
"""

from dataclasses import dataclass, field

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from nexus.codecs.vocos import Vocos, VocosConfig
from nexus.media.features import mel_filterbank
from nexus.nn.conv import Conv1d, ConvTranspose1d, Windows
from nexus.nn.convnext import ConvNeXt
from nexus.nn.quantize import Codebook, ResidualQuantizer, nearest


@dataclass(frozen=True, kw_only=True)
class FrameCoderConfig:
    """The mel frames are those of `vocos`; `ratio` of them make one frame of codes."""

    ratio: int = 2
    floor: float = 0.02  # mel magnitudes well below it are silence
    dim: int = 192  # of the ConvNeXt
    hidden_dim: int = 576
    n_layers: int = 4
    vocos: VocosConfig = field(default_factory=lambda: VocosConfig(padding="same", dim=192, hidden_dim=576, n_layers=6))

    def __post_init__(self):
        if self.vocos.padding != "same":
            raise ValueError(f"a codec's Vocos needs padding 'same' to keep the length, got {self.vocos.padding!r}")

    @property
    def hop_length(self) -> int:
        return self.ratio * self.vocos.hop_length


class LogMel(nn.Module):
    """log(1 + mel / floor) of whole windows: silence is zero, as padding is."""

    window: Tensor
    filters: Tensor

    def __init__(self, config: VocosConfig, floor: float):
        super().__init__()
        self.hop_length, self.floor = config.hop_length, floor
        filters = mel_filterbank(config.sample_rate, config.n_fft, config.n_features).float()
        self.register_buffer("window", torch.hann_window(config.n_fft), persistent=False)
        self.register_buffer("filters", filters, persistent=False)

    def forward(self, waveform: Float[Tensor, "B 1 L"]) -> Float[Tensor, "B M T"]:
        windows = waveform[:, 0].float().unfold(-1, len(self.window), self.hop_length) * self.window.float()
        magnitude = torch.view_as_real(torch.fft.rfft(windows)).square().sum(-1).sqrt()
        return (magnitude @ self.filters.float().mT / self.floor).log1p().mT.to(self.filters.dtype)


class Mender(ConvNeXt):
    """Adds to rough mel frames what their surroundings tell, and gives the natural logarithm that a Vocos takes."""

    def __init__(self, config: FrameCoderConfig):
        n_mels = config.vocos.n_features
        super().__init__(n_mels, config.dim, config.hidden_dim, config.n_layers)
        self.floor = config.floor
        self.out = nn.Linear(config.dim, n_mels)
        nn.init.zeros_(self.out.weight)  # starts as the identity
        nn.init.zeros_(self.out.bias)

    def _finish(self, x: Tensor, hidden: Tensor) -> Tensor:
        mended = (x + self.out(hidden.mT).mT).clamp(max=14)
        return (mended.expm1() * self.floor).clamp(min=1e-3).log()

    def forward(self, x: Float[Tensor, "B M T"]) -> Float[Tensor, "B M T"]:
        return self._finish(x, self.hidden(x))

    def stream(
        self, x: Float[Tensor, "B M T"], state: tuple[Tensor, dict] | None, last: bool = False
    ) -> tuple[Float[Tensor, "B M U"], tuple[Tensor, dict]]:
        waiting, inner = (x, None) if state is None else (torch.cat([state[0], x], dim=-1), state[1])
        hidden, inner = self.stream_hidden(x, inner, last)
        n = hidden.shape[-1]
        return self._finish(waiting[..., :n], hidden), (waiting[..., n:], inner)


def encoder_layers(config: FrameCoderConfig, latent_dim: int) -> nn.ModuleList:
    """Waveform [B, 1, L] to mel frames, to latent [B, D, T]."""
    vocos = config.vocos
    mel = Windows(
        LogMel(vocos, config.floor),
        vocos.n_features,
        extent=vocos.n_fft,
        stride=vocos.hop_length,
        causal=False,
        pad_mode="constant",
    )
    return nn.ModuleList([mel, Conv1d(vocos.n_features, latent_dim, config.ratio, stride=config.ratio)])


def decoder_layers(config: FrameCoderConfig, latent_dim: int) -> nn.ModuleList:
    """Latent [B, D, T] to mel frames, to waveform [B, 1, L]."""
    up = ConvTranspose1d(latent_dim, config.vocos.n_features, config.ratio, stride=config.ratio)
    return nn.ModuleList([up, Mender(config), Vocos(config.vocos)])


@torch.no_grad()
def fit(
    encoder: nn.ModuleList,
    decoder: nn.ModuleList,
    quantizer: ResidualQuantizer,
    mel: Float[Tensor, "B M T"],
    generator: torch.Generator,
) -> None:
    """Sets the linear layers to the principal axes of `mel` (the encoder's frames), the codebooks to k-means of them.

    Errors in low bins, where pitch is heard, count up to 2.7 times as much as in high ones.
    """
    down, up = encoder[1].conv, decoder[0].conv
    assert isinstance(down, nn.Conv1d) and isinstance(up, nn.ConvTranspose1d)
    ratio, n_mels = down.kernel_size[0], down.in_channels
    rows = rearrange(mel[..., : mel.shape[-1] // ratio * ratio], "b m (t r) -> (b t) (m r)", r=ratio)
    mean = rearrange(rows.mean(0), "(m r) -> m r", r=ratio).mean(1, keepdim=True).expand(-1, ratio).reshape(-1)
    weight = torch.linspace(1.6, 0.6, n_mels)[:, None].expand(-1, ratio).reshape(-1)
    centred = (rows - mean) * weight
    axes = torch.linalg.svd(centred.mT @ centred)[0][:, : down.out_channels]  # [M ratio, D]
    analysis, synthesis = weight[:, None] * axes, axes.mT / weight
    down.weight.copy_(rearrange(analysis, "(m r) d -> d m r", r=ratio))
    up.weight.copy_(rearrange(synthesis, "d (m r) -> d m r", r=ratio))
    assert down.bias is not None and up.bias is not None
    down.bias.copy_(-mean @ analysis)
    up.bias.copy_(mean[::ratio])
    residual = centred @ axes
    for codebook in quantizer.codebooks:
        assert isinstance(codebook, Codebook)
        codebook.start(residual, generator)
        residual = residual - codebook.vectors[nearest(residual, codebook.vectors)]
