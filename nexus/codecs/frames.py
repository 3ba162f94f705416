"""A codec's encoder and decoder at frame rate: spectral frames to a latent, the latent to a Vocos and a bank of sines.

Beside EnCodec's SEANet this is cheap to run and to learn, in the manner of spectral codecs (arXiv:2406.05298). A frame
is how loud each semitone sounds in a long window (pitch) and a few log-mel frames of short ones (all else). The
encoder is linear: the principal axes of both, found in closed form (`fit`), as the codebooks are by k-means; the first
codebook is of pitch alone. The decoder is the transpose of that, a ConvNeXt that mends what is left, and the sum of a
Vocos (arXiv:2306.00814) and of sines (`nexus.codecs.tones`).
Axes: B batch, W window samples, L waveform samples, M mel bins, S semitones, P = S + M ratio parts of a frame,
T frames, D latent width, R rows.
"""

from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from nexus.codecs.tones import SemitoneAmplitudes, Tones
from nexus.codecs.vocos import Vocos, VocosConfig
from nexus.media.features import mel_filterbank
from nexus.nn.conv import Conv1d, Windows
from nexus.nn.convnext import ConvNeXt
from nexus.nn.quantize import Codebook, ResidualQuantizer, nearest


@dataclass(frozen=True, kw_only=True)
class FrameCoderConfig:
    """The mel frames are those of `vocos`; `ratio` of them make one frame of codes."""

    ratio: int = 2
    mel_floor: float = 0.02  # mel magnitudes well below it are silence
    n_tones: int = 72
    tone_floor: float = 0.003  # amplitudes well below it are silence
    tone_window: int = 4096  # samples
    tone_dim: int = 32  # of the latent; the rest is of the mel frames
    dim: int = 256  # of the ConvNeXt
    hidden_dim: int = 768
    n_layers: int = 4
    vocos: VocosConfig = field(default_factory=lambda: VocosConfig(padding="same", dim=192, hidden_dim=576, n_layers=6))

    def __post_init__(self):
        if self.vocos.padding != "same":
            raise ValueError(f"a codec's Vocos needs padding 'same' to keep the length, got {self.vocos.padding!r}")
        least = self.vocos.n_fft + self.hop_length - self.vocos.hop_length
        if self.tone_window < least or self.tone_window % 2:
            raise ValueError(f"tone_window must be even and at least {least} samples, got {self.tone_window}")

    @property
    def hop_length(self) -> int:
        return self.ratio * self.vocos.hop_length

    @property
    def n_parts(self) -> int:
        return self.n_tones + self.ratio * self.vocos.n_features


class Analysis(nn.Module):
    """log(1 + amplitude / floor) of semitones and of `ratio` mel frames, in whole windows: silence is zero."""

    window: Tensor
    filters: Tensor

    def __init__(self, config: FrameCoderConfig):
        super().__init__()
        self.config, vocos = config, config.vocos
        self.tones = SemitoneAmplitudes(vocos.sample_rate, config.tone_window, config.n_tones)
        filters = mel_filterbank(vocos.sample_rate, vocos.n_fft, vocos.n_features).float()
        self.register_buffer("window", torch.hann_window(vocos.n_fft), persistent=False)
        self.register_buffer("filters", filters, persistent=False)

    def forward(self, waveform: Float[Tensor, "B 1 L"]) -> Float[Tensor, "B P T"]:
        c, x = self.config, waveform[:, 0].float()
        tones = (self.tones(x.unfold(-1, c.tone_window, c.hop_length)) / c.tone_floor).log1p()
        # The short windows of a frame lie in the middle of its long one.
        extent = c.vocos.n_fft + c.hop_length - c.vocos.hop_length
        first = (c.tone_window - extent) // 2
        windows = x[:, first : x.shape[-1] - first].unfold(-1, c.vocos.n_fft, c.vocos.hop_length) * self.window.float()
        magnitude = torch.view_as_real(torch.fft.rfft(windows)).square().sum(-1).sqrt()
        mel = (magnitude @ self.filters.float().mT / c.mel_floor).log1p()
        mel = rearrange(mel, "b (t r) m -> b (m r) t", r=c.ratio)
        return torch.cat([tones, mel], dim=1).to(self.filters.dtype)


class Mender(ConvNeXt):
    """Adds to rough frames what their surroundings tell."""

    def __init__(self, config: FrameCoderConfig):
        super().__init__(config.n_parts, config.dim, config.hidden_dim, config.n_layers)
        self.out = nn.Linear(config.dim, config.n_parts)
        nn.init.zeros_(self.out.weight)  # starts as the identity
        nn.init.zeros_(self.out.bias)

    def forward(self, x: Float[Tensor, "B P T"]) -> Float[Tensor, "B P T"]:
        return x + self.out(self.hidden(x).mT).mT

    def stream(
        self, x: Float[Tensor, "B P T"], state: tuple[Tensor, dict] | None, last: bool = False
    ) -> tuple[Float[Tensor, "B P U"], tuple[Tensor, dict]]:
        waiting, inner = (x, None) if state is None else (torch.cat([state[0], x], dim=-1), state[1])
        hidden, inner = self.stream_hidden(x, inner, last)
        n = hidden.shape[-1]
        return waiting[..., :n] + self.out(hidden.mT).mT, (waiting[..., n:], inner)


class Synthesis(nn.Module):
    """Frames to sound: sines for the semitones, a Vocos for what the mel frames say."""

    def __init__(self, config: FrameCoderConfig):
        super().__init__()
        self.config = config
        self.vocos = Vocos(config.vocos)
        self.tones = Tones(config.vocos.sample_rate, config.hop_length, config.n_tones)

    def parts(self, x: Float[Tensor, "B P T"]) -> tuple[Float[Tensor, "B S T"], Float[Tensor, "B M U"]]:
        """Amplitudes of the sines, and the natural logarithm of mel frames that a Vocos takes."""
        c = self.config
        tones, mel = x.float().clamp(0, 14).expm1().split([c.n_tones, x.shape[1] - c.n_tones], dim=1)
        mel = rearrange(mel, "b (m r) t -> b m (t r)", r=c.ratio)
        return tones * c.tone_floor, (mel * c.mel_floor).clamp(min=1e-3).log().to(x.dtype)

    def forward(self, x: Float[Tensor, "B P T"]) -> Float[Tensor, "B 1 L"]:
        amplitudes, mel = self.parts(x)
        return self.vocos(mel) + self.tones(amplitudes)

    def stream(
        self, x: Float[Tensor, "B P T"], state: dict[Any, Any] | None, last: bool = False
    ) -> tuple[Float[Tensor, "B 1 L"], dict[Any, Any]]:
        state, sounds = dict(state or {}), []
        for name, layer, part in zip(("tones", "vocos"), (self.tones, self.vocos), self.parts(x), strict=True):
            sound, state[name] = layer.stream(part, state.get(name), last)
            sounds.append(torch.cat([state[name, "waiting"], sound], dim=-1) if (name, "waiting") in state else sound)
        n = min(sound.shape[-1] for sound in sounds)
        state["tones", "waiting"], state["vocos", "waiting"] = (sound[..., n:] for sound in sounds)
        return sounds[0][..., :n] + sounds[1][..., :n], state


def encoder_layers(config: FrameCoderConfig, latent_dim: int) -> nn.ModuleList:
    """Waveform [B, 1, L] to frames [B, P, T], to latent [B, D, T]."""
    analysis = Windows(
        Analysis(config),
        config.n_parts,
        extent=config.tone_window,
        stride=config.hop_length,
        causal=False,
        pad_mode="constant",
    )
    return nn.ModuleList([analysis, Conv1d(config.n_parts, latent_dim, 1)])


def decoder_layers(config: FrameCoderConfig, latent_dim: int) -> nn.ModuleList:
    """Latent [B, D, T] to frames [B, P, T], to waveform [B, 1, L]."""
    return nn.ModuleList([Conv1d(latent_dim, config.n_parts, 1), Mender(config), Synthesis(config)])


@torch.no_grad()
def fit(
    encoder: nn.ModuleList,
    decoder: nn.ModuleList,
    quantizer: ResidualQuantizer,
    frames: Float[Tensor, "B P T"],
    generator: torch.Generator,
) -> None:
    """Sets the linear layers to the principal axes of `frames` (the analysis'), the codebooks to k-means of them.

    Errors in low mel bins count up to 2.7 times as much as in high ones.
    """
    config = analysis_of(encoder).config
    down, up = linear_of(encoder[1]), linear_of(decoder[0])
    rows = rearrange(frames, "b p t -> (b t) p")
    mean = rows.mean(0)
    low_first = torch.linspace(1.6, 0.6, config.vocos.n_features).repeat_interleave(config.ratio)
    weight = torch.cat([torch.ones(config.n_tones), low_first])
    centred = (rows - mean) * weight
    n, n_axes = config.n_tones, min(config.tone_dim, config.n_tones)
    axes = torch.block_diag(  # [P, D]
        principal_axes(centred[:, :n], n_axes), principal_axes(centred[:, n:], down.out_channels - n_axes)
    )
    assert down.bias is not None and up.bias is not None
    down.weight.copy_((weight[:, None] * axes).mT[..., None])
    down.bias.copy_(-mean * weight @ axes)
    up.weight.copy_((axes.mT / weight).mT[..., None])
    up.bias.copy_(mean)
    residual = centred @ axes
    for k, codebook in enumerate(quantizer.codebooks):
        assert isinstance(codebook, Codebook)
        rows = residual if k else F.pad(residual[:, :n_axes], (0, residual.shape[1] - n_axes))
        codebook.start(rows, generator)
        codebook.sums.div_(share := codebook.usage.mean())  # the sums of hours overflow half precision
        codebook.usage.div_(share)
        residual = residual - codebook.vectors[nearest(residual, codebook.vectors)]


def analysis_of(encoder: nn.ModuleList) -> Analysis:
    """What turns sound into frames, without its padding."""
    first = encoder[0]
    assert isinstance(first, Windows) and isinstance(first.conv, Analysis)
    return first.conv


def linear_of(layer: nn.Module) -> nn.Conv1d:
    assert isinstance(layer, Conv1d) and isinstance(layer.conv, nn.Conv1d)
    return layer.conv


def principal_axes(rows: Float[Tensor, "R P"], n: int) -> Float[Tensor, "P n"]:
    return torch.linalg.svd(rows.mT @ rows)[0][:, :n]
