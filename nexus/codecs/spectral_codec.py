"""A codec of spectra: log-magnitudes in, codes, log-magnitudes out, and a search for the phases that fit them.

Codes spend no bits on phase: what is heard is how loud each frequency is, and short-time magnitudes, which overlap,
leave little choice of phase (`nexus.nn.phase_search`). So the network learns a regression at frame rate and needs no
discriminators. ConvNeXt blocks over spectra with a residual quantiser between are those of APCodec (arXiv:2402.10533);
coding spectra and leaving waveforms to something else is the idea of arXiv:2406.05298. The latent has a linear share of
mel frames, found in closed form (`fit`), from which learning starts.
Axes: B batch, C channels, L waveform samples, M mel bins, F frequency bins, P = M + F features of a frame, Q numbers
out, T frames, U frames out of a stream's step, D latent width, K codebooks.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor, nn

from nexus.codecs.convolutional import ConvolutionalCodec
from nexus.codecs.frames import principal_axes
from nexus.media.features import mel_filterbank
from nexus.nn.chain import Chain
from nexus.nn.checkpoint import save_folder
from nexus.nn.conv import Windows
from nexus.nn.convnext import ConvNeXt
from nexus.nn.phase_search import PhaseSearch, check_windows
from nexus.nn.quantize import QuantizerConfig, ResidualQuantizer
from nexus.process.spectral import magnitude_distances

FLOOR, LOUDEST = 1e-3, 1e2  # of magnitudes: what is softer is silence; no sound in [-1, 1] is much louder


@dataclass(frozen=True, kw_only=True)
class BlocksConfig:
    in_dim: int = 128  # that frames are projected to
    dim: int = 192
    hidden_dim: int = 576
    n_layers: int = 4


@dataclass(frozen=True, kw_only=True)
class SpectralCodecConfig:
    sample_rate: int = 24000
    n_fft: int = 1024
    hop_length: int = 256
    n_mels: int = 100
    encoder: BlocksConfig = BlocksConfig()
    quantizer: QuantizerConfig = field(default_factory=lambda: QuantizerConfig(n_codebooks=6, dim=64))
    decoder: BlocksConfig = BlocksConfig(in_dim=100, n_layers=8)
    n_iterations: int = 32  # of the search for phases

    def __post_init__(self):
        check_windows(self.n_fft, self.hop_length)
        if self.quantizer.dim > self.n_mels:
            raise ValueError(f"a latent of {self.quantizer.dim} is wider than {self.n_mels} mel bins")
        if self.n_iterations < 0:
            raise ValueError(f"n_iterations can't be negative, got {self.n_iterations}")

    @property
    def codebook_size(self) -> int:
        return self.quantizer.codebook_size

    @property
    def n_codebooks(self) -> int:
        return self.quantizer.n_codebooks

    @property
    def n_bins(self) -> int:
        return self.n_fft // 2 + 1


class Analysis(nn.Module):
    """Natural logarithms of mel magnitudes and of magnitudes, of whole Hann windows."""

    window: Tensor
    filters: Tensor

    def __init__(self, config: SpectralCodecConfig):
        super().__init__()
        self.n_fft, self.hop_length = config.n_fft, config.hop_length
        filters = mel_filterbank(config.sample_rate, config.n_fft, config.n_mels).float()
        self.register_buffer("window", torch.hann_window(config.n_fft), persistent=False)
        self.register_buffer("filters", filters, persistent=False)

    def forward(self, waveform: Float[Tensor, "B 1 L"]) -> Float[Tensor, "B P T"]:
        with torch.autocast(waveform.device.type, enabled=False):
            windows = waveform[:, 0].float().unfold(-1, self.n_fft, self.hop_length) * self.window.float()
            magnitudes = torch.fft.rfft(windows).abs()
            mel = magnitudes @ self.filters.float().mT
            return torch.cat([mel, magnitudes], dim=-1).clamp(min=FLOOR).log().mT.to(waveform.dtype)


class FrameNetwork(ConvNeXt):
    """Frames through a linear layer, ConvNeXt blocks and a linear layer, whole or as a stream."""

    def __init__(self, blocks: BlocksConfig, n_in: int, n_out: int):
        super().__init__(blocks.in_dim, blocks.dim, blocks.hidden_dim, blocks.n_layers)
        self.project, self.out = nn.Linear(n_in, blocks.in_dim), nn.Linear(blocks.dim, n_out)
        self.look_ahead = 3 * (blocks.n_layers + 1)

    def forward(self, x: Float[Tensor, "B P T"]) -> Float[Tensor, "B Q T"]:
        return self.out(self.hidden(self.project(x.mT).mT).mT).mT

    def stream(self, x: Float[Tensor, "B P T"], state: Any, last: bool = False) -> tuple[Float[Tensor, "B Q U"], Any]:
        hidden, state = self.stream_hidden(self.project(x.mT).mT, state, last)
        return self.out(hidden.mT).mT, state


class Encoder(FrameNetwork):
    """Features to latent: a linear function of the mel frames, plus what blocks make of everything."""

    def __init__(self, config: SpectralCodecConfig):
        super().__init__(config.encoder, config.n_mels + config.n_bins, config.quantizer.dim)
        self.linear = nn.Linear(config.n_mels, config.quantizer.dim)

    def forward(self, x: Float[Tensor, "B P T"]) -> Float[Tensor, "B D T"]:
        return self.linear_share(x) + super().forward(x)

    def linear_share(self, x: Float[Tensor, "B P T"]) -> Float[Tensor, "B D T"]:
        return self.linear(x[:, : self.linear.in_features].mT).mT

    def stream(self, x: Float[Tensor, "B P T"], state: Any, last: bool = False) -> tuple[Float[Tensor, "B D U"], Any]:
        waiting, inner = (x, None) if state is None else (torch.cat([state[0], x], dim=-1), state[1])
        added, inner = super().stream(x, inner, last)
        n = added.shape[-1]
        return self.linear_share(waiting[..., :n]) + added, (waiting[..., n:].clone(), inner)


class Magnitudes(nn.Module):
    """Of logarithms."""

    def forward(self, x: Float[Tensor, "B F T"]) -> Float[Tensor, "B F T"]:
        return x.float().exp().clamp(max=LOUDEST)


@dataclass(frozen=True)
class SpectralCodecOutput:
    """What a training step needs: there is no waveform in it, for the search for phases has nothing to learn."""

    log_magnitudes: Float[Tensor, "B F T"]
    target: Float[Tensor, "B F T"]
    codes: Int[Tensor, "B K T"]
    commitment: Float[Tensor, ""]
    perplexity: Float[Tensor, " K"]


class SpectralCodec(ConvolutionalCodec):
    def __init__(self, config: SpectralCodecConfig):
        super().__init__()
        self.config = config
        analysis = Windows(
            Analysis(config),
            config.n_mels + config.n_bins,
            extent=config.n_fft,
            stride=config.hop_length,
            causal=False,
            pad_mode="constant",
        )
        self.encoder = Chain(analysis, Encoder(config))
        self.quantizer = ResidualQuantizer(config.quantizer)
        spectrum = FrameNetwork(config.decoder, config.quantizer.dim, config.n_bins)
        search = PhaseSearch(config.n_fft, config.hop_length, config.n_iterations)
        self.decoder = Chain(spectrum, Magnitudes(), search)

    def forward(
        self,
        waveform: Float[Tensor, "B C L"],
        n_codebooks: int | Int[Tensor, " B"] | None = None,
        generator: torch.Generator | None = None,
    ) -> SpectralCodecOutput:
        """Spectra and what they should be; gradients pass the quantiser straight through, codebooks learn in training
        mode."""
        with torch.no_grad():
            features = self.encoder.layers[0](self.whole_frames(waveform))
        quantized = self.quantizer(self.encoder.layers[1](features), n_codebooks, generator)
        return SpectralCodecOutput(
            self.decoder.layers[0](quantized.vectors),
            features[:, self.config.n_mels :],
            quantized.codes,
            quantized.commitment,
            quantized.perplexity,
        )

    def losses(self, result: SpectralCodecOutput) -> dict[str, Tensor]:
        """Distances of `result` (`magnitude_distances`) and its commitment."""
        sizes = self.sample_rate, FLOOR, self.config.n_mels
        distances = magnitude_distances(result.log_magnitudes, result.target, *sizes)
        return distances | {"commitment": result.commitment}

    @torch.no_grad()
    def fit(self, waveform: Float[Tensor, "B 1 L"], generator: torch.Generator | None = None) -> None:
        """Closed form: the latent becomes the principal axes of `waveform`'s mel frames, the codebooks k-means of it;
        the decoder's first layer (`in_dim` = `n_mels`) gives the mel frames back.

        Errors in low mel bins count up to 2.7 times as much as in high ones. What the encoder's blocks add is zero.

        Raises:
            ValueError: the decoder's first layer has no room for the mel frames.
        """
        encoder, decoder, n_mels = self.encoder.layers[1], self.decoder.layers[0], self.config.n_mels
        assert isinstance(encoder, Encoder) and isinstance(decoder, FrameNetwork)
        if self.config.decoder.in_dim != n_mels:
            raise ValueError(f"decoder.in_dim must be n_mels = {n_mels} to be fitted, got {self.config.decoder.in_dim}")
        features = self.encoder.layers[0](waveform)
        rows = rearrange(features[:, :n_mels], "b m t -> (b t) m")
        mean, weight = rows.mean(0), torch.linspace(1.6, 0.6, n_mels, device=rows.device)
        axes = principal_axes((rows - mean) * weight, self.config.quantizer.dim)  # [M, D]
        encoder.linear.weight.copy_((weight[:, None] * axes).mT)
        encoder.linear.bias.copy_(-mean * weight @ axes)
        for parameter in encoder.out.parameters():
            nn.init.zeros_(parameter)
        decoder.project.weight.copy_((axes.mT / weight).mT)
        decoder.project.bias.copy_(mean)
        self.quantizer.start(encoder(features), generator)

    @torch.inference_mode()
    def encode(self, waveform: Float[Tensor, "B C L"], n_codebooks: int | None = None) -> Int[Tensor, "B K T"]:
        """Codes of ceil(L / hop) frames."""
        return self.quantizer.encode(self.encoder(self.whole_frames(waveform)), n_codebooks)

    @torch.inference_mode()
    def decode(self, codes: Int[Tensor, "B K T"], length: int | None = None) -> Float[Tensor, "B 1 L"]:
        """Waveform of T hop samples, or cut to `length`; any number of codebooks up to all."""
        self.check_length(codes.shape[-1], length)
        waveform = self.decoder(self.quantizer.decode(codes))
        return waveform if length is None else waveform[..., :length]

    @property
    def decoder_look_ahead(self) -> int:
        """Frames that a stream waits for before it has given all samples of a frame."""
        return self.decoder.layers[0].look_ahead + self.decoder.layers[2].look_ahead  # type: ignore[operator]

    @contextmanager
    def streaming(self) -> Iterator["SpectralCodecStream"]:
        """`with codec.streaming() as s: s.encode(chunk) ... s.decode(codes) ...`: chunks together equal the whole.

        The codec is not causal: codes stay `encoder_look_ahead` samples behind, waveforms `decoder_look_ahead` frames;
        pass `last=True` with the last chunk. Each call of `decode` searches anew for the phases around what it gives:
        give it a second of codes or more at a time. Memory does not grow with the length.
        """
        with torch.inference_mode():
            yield SpectralCodecStream(self)

    def save(self, folder: str | Path, dtype: torch.dtype | None = None) -> None:
        save_folder(self, folder, kind="spectral-codec", config=self.config, dtype=dtype)


class SpectralCodecStream:
    """Encodes and decodes chunk by chunk; the two directions are independent."""

    def __init__(self, codec: SpectralCodec):
        self.codec = codec
        self.encoder_state: list[Any] | None = None
        self.decoder_state: list[Any] | None = None
        self.n_samples = 0

    def encode(
        self, chunk: Float[Tensor, "B C L"], *, n_codebooks: int | None = None, last: bool = False
    ) -> Int[Tensor, "B K T"]:
        """Codes of the frames that are complete with this chunk, of any length; maybe none yet."""
        self.codec.check_samples(chunk)
        self.n_samples += chunk.shape[-1]
        if last:
            chunk = F.pad(chunk, (0, -self.n_samples % self.codec.hop_length))
        latent, self.encoder_state = self.codec.encoder.stream(chunk, self.encoder_state, last)
        return self.codec.quantizer.encode(latent, n_codebooks)

    def decode(self, codes: Int[Tensor, "B K T"], *, last: bool = False) -> Float[Tensor, "B 1 L"]:
        """Samples that no later frame changes; maybe none yet."""
        latent = self.codec.quantizer.decode(codes)
        waveform, self.decoder_state = self.codec.decoder.stream(latent, self.decoder_state, last)
        return waveform
