"""DAC (arXiv:2306.06546): a convolutional autoencoder over waveforms with Snake activations and factorised codebooks.

Official weights (MIT): `descript/dac_16khz`, `descript/dac_24khz`, `descript/dac_44khz`, and Descript's own files.
Mono: the channels of a recording are items of a batch.
Axes: B batch, L waveform samples, D width, T frames, K codebooks.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.utils import parametrize

from nexus.codecs.convolutional import ConvolutionalCodec, start_without_bias
from nexus.nn.chain import Chain, Residual
from nexus.nn.checkpoint import save_folder
from nexus.nn.conv import Conv1d, ConvState, ConvTranspose1d
from nexus.nn.factorised import Factorised, FactorisedConfig, FactorisedQuantizer
from nexus.nn.look_ahead import needed
from nexus.nn.quantize import n_used
from nexus.nn.snake import Snake
from nexus.process.spectral import mel_distance

DILATIONS = (1, 3, 9)
# Section 3.4 and the published recipe: windows and mel bins, and the weights of the losses.
MEL_SCALES = ((2048, 320), (1024, 160), (512, 80), (256, 40), (128, 20), (64, 10), (32, 5))
MEL_WEIGHT = 15 * len(MEL_SCALES) / math.log(10)  # the paper sums the scales, in decimal logarithms
COMMITMENT_WEIGHT = 0.25


@dataclass(frozen=True, kw_only=True)
class DacConfig:
    sample_rate: int = 44100
    encoder_dim: int = 64  # doubles at each stage
    decoder_dim: int = 1536  # halves at each stage
    latent_dim: int = 1024
    ratios: tuple[int, ...] = (2, 4, 8, 8)  # strides of the encoder; the decoder has them reversed
    n_codebooks: int = 9
    codebook_size: int = 1024
    codebook_dim: int = 8
    quantizer_dropout: float = 0.5  # share of the items that train with a random number of codebooks
    weight_norm: bool = False  # for training; official weights load with it folded

    def __post_init__(self):
        if not self.ratios or min(self.ratios) < 1:
            raise ValueError(f"ratios must be positive, got {self.ratios}")
        if self.decoder_dim % 2 ** len(self.ratios):
            raise ValueError(
                f"decoder_dim must be divisible by {2 ** len(self.ratios)}, as it halves {len(self.ratios)} times, "
                f"got {self.decoder_dim}"
            )

    @staticmethod
    def dac_16khz() -> "DacConfig":
        """50 Hz, 6 kbps."""
        return DacConfig(sample_rate=16000, ratios=(2, 4, 5, 8), n_codebooks=12)

    @staticmethod
    def dac_24khz() -> "DacConfig":
        """75 Hz, 24 kbps."""
        return DacConfig(sample_rate=24000, ratios=(2, 4, 5, 8), n_codebooks=32)

    @staticmethod
    def dac_44khz() -> "DacConfig":
        """86.1 Hz, 7.75 kbps."""
        return DacConfig()

    @staticmethod
    def dac_44khz_16kbps() -> "DacConfig":
        """86.1 Hz, 15.5 kbps, a narrower latent; a file of Descript's only."""
        return DacConfig(n_codebooks=18, latent_dim=128)

    @property
    def hop_length(self) -> int:
        return math.prod(self.ratios)

    @property
    def quantizer(self) -> FactorisedConfig:
        return FactorisedConfig(
            dim=self.latent_dim,
            n_codebooks=self.n_codebooks,
            codebook_size=self.codebook_size,
            codebook_dim=self.codebook_dim,
            dropout=self.quantizer_dropout,
            weight_norm=self.weight_norm,
        )


class Upsample(ConvTranspose1d):
    """Windows of twice the stride, cut equally on both sides: an odd stride gives one sample less than L * stride."""

    def forward(self, x: Float[Tensor, "B C L"]) -> Float[Tensor, "B D T"]:
        return self._ended(super().forward(x))

    def stream(
        self, x: Float[Tensor, "B C L"], state: ConvState | None, last: bool = False
    ) -> tuple[Float[Tensor, "B D T"], ConvState]:
        y, state = super().stream(x, state, last)
        return (self._ended(y) if last else y), state

    def _ended(self, y: Tensor) -> Tensor:
        return y[..., : max(y.shape[-1] - self.stride % 2, 0)]


def residual_units(dim: int, weight_norm: bool) -> list[Residual]:
    """Section 3.1: a dilated convolution and one over channels, each after a Snake."""
    return [
        Residual(
            Snake(dim),
            Conv1d(dim, dim, 7, dilation=dilation, weight_norm=weight_norm),
            Snake(dim),
            Conv1d(dim, dim, 1, weight_norm=weight_norm),
        )
        for dilation in DILATIONS
    ]


def encoder(config: DacConfig) -> Chain:
    """Waveform [B, 1, L] to latent [B, D, T]."""
    dim, norm = config.encoder_dim, config.weight_norm
    layers: list[nn.Module] = [Conv1d(1, dim, 7, weight_norm=norm)]
    for ratio in config.ratios:
        down = Conv1d(dim, 2 * dim, 2 * ratio, stride=ratio, weight_norm=norm)
        layers.append(Chain(*residual_units(dim, norm), Snake(dim), down))
        dim *= 2
    return Chain(*layers, Snake(dim), Conv1d(dim, config.latent_dim, 3, weight_norm=norm))


def decoder(config: DacConfig) -> Chain:
    """Latent [B, D, T] to waveform [B, 1, L]."""
    dim, norm = config.decoder_dim, config.weight_norm
    layers: list[nn.Module] = [Conv1d(config.latent_dim, dim, 7, weight_norm=norm)]
    for ratio in reversed(config.ratios):
        up = Upsample(dim, dim // 2, 2 * ratio, stride=ratio, weight_norm=norm)
        layers.append(Chain(Snake(dim), up, *residual_units(dim // 2, norm)))
        dim //= 2
    return Chain(*layers, Snake(dim), Conv1d(dim, 1, 7, weight_norm=norm), nn.Tanh())


@dataclass(frozen=True)
class DacOutput:
    """Reconstruction of the input's length, and what the quantiser gave."""

    waveform: Float[Tensor, "B 1 L"]
    quantized: Factorised


class Dac(ConvolutionalCodec):
    def __init__(self, config: DacConfig):
        super().__init__()
        self.config = config
        self.encoder, self.decoder = encoder(config), decoder(config)
        self.quantizer = FactorisedQuantizer(config.quantizer)
        start_without_bias(self)

    @property
    def decoder_look_ahead(self) -> int:
        """Samples that a stream of codes holds back because later frames still change them."""
        first = needed(self.decoder, 1)
        given = sum(needed(self.decoder, n) == first for n in range(1, self.hop_length + 1))
        return first * self.hop_length - given

    @property
    def look_ahead(self) -> int:
        """Samples that a streamed reconstruction stays behind, encoder and decoder together."""
        return self.encoder_look_ahead + self.decoder_look_ahead

    @property
    def look_ahead_seconds(self) -> float:
        return self.look_ahead / self.sample_rate

    def forward(
        self,
        waveform: Float[Tensor, "B C L"],
        n_codebooks: int | None = None,
        generator: torch.Generator | None = None,
    ) -> DacOutput:
        """Reconstructs; gradients pass the quantiser straight through. In training mode with quantiser dropout."""
        quantized = self.quantizer(self.encoder(self.whole_frames(waveform)), n_codebooks, generator)
        return DacOutput(fit(self.decoder(quantized.vectors), waveform.shape[-1]), quantized)

    def loss(self, batch: dict[str, Tensor], generator: torch.Generator | None = None) -> dict[str, Tensor]:
        """Multi-scale mel distance, commitment and codebook losses, weighted as published; batch["waveform"] is
        [B, 1, L]."""
        result = self(batch["waveform"], generator=generator)
        return self.losses(result, batch["waveform"])

    def losses(self, result: DacOutput, waveform: Float[Tensor, "B 1 L"]) -> dict[str, Tensor]:
        """`loss` of a result that is there already, as adversarial training has it."""
        quantized = result.quantized
        mel = mel_distance(result.waveform, waveform, self.sample_rate, MEL_SCALES)
        total = MEL_WEIGHT * mel + quantized.codebook + COMMITMENT_WEIGHT * quantized.commitment
        return {
            "loss": total,
            "mel": mel.detach(),
            "codebook": quantized.codebook.detach(),
            "commitment": quantized.commitment.detach(),
            "perplexity": quantized.perplexity.mean(),
            "used": n_used(quantized.codes),
        }

    @torch.inference_mode()
    def encode(self, waveform: Float[Tensor, "B C L"], n_codebooks: int | None = None) -> Int[Tensor, "B K T"]:
        """Codes of ceil(L / hop) frames of one channel, of the first `n_codebooks` (all by default)."""
        return self.quantizer.encode(self.encoder(self.whole_frames(waveform)), n_codebooks)

    @torch.inference_mode()
    def decode(self, codes: Int[Tensor, "B K T"], length: int | None = None) -> Float[Tensor, "B 1 L"]:
        """Waveform of any number of codebooks up to all, `length` samples of it.

        By default it is as long as the decoder makes it: T hop samples, or a few less where a stride is odd (8 of
        16 and 24 kHz); a `length` beyond them is filled with zeros, one beyond T hop is refused.
        """
        self.check_length(codes.shape[-1], length)
        if codes.shape[-1] == 0:
            return torch.zeros(codes.shape[0], 1, 0, device=codes.device)
        waveform = self.decoder(self.quantizer.decode(codes))
        return waveform if length is None else fit(waveform, length)

    @contextmanager
    def streaming(self) -> Iterator["DacStream"]:
        """`with codec.streaming() as s: s.encode(chunk) ... s.decode(codes) ...`: chunks together equal the whole.

        The codec is not causal: codes stay `encoder_look_ahead` samples behind, waveforms `decoder_look_ahead`; pass
        `last=True` with the last chunk. Memory does not grow with the length.
        """
        with torch.inference_mode(), parametrize.cached():
            yield DacStream(self)

    def save(self, folder: str | Path, dtype: torch.dtype | None = None) -> None:
        save_folder(self, folder, kind="dac", config=self.config, dtype=dtype)


def fit(waveform: Float[Tensor, "B 1 L"], length: int) -> Float[Tensor, "B 1 N"]:
    """Cut, or filled with zeros, to `length`."""
    return F.pad(waveform, (0, length - waveform.shape[-1]))


class DacStream:
    """Encodes and decodes chunk by chunk; the two directions are independent."""

    def __init__(self, codec: Dac):
        self.codec = codec
        self.encoder_states: list[Any] | None = None
        self.decoder_states: list[Any] | None = None
        self.n_samples = 0

    def encode(
        self, chunk: Float[Tensor, "B C L"], *, n_codebooks: int | None = None, last: bool = False
    ) -> Int[Tensor, "B K T"]:
        """Codes of the frames that are complete with this chunk, of any length; maybe none yet."""
        self.codec.check_samples(chunk)
        self.n_samples += chunk.shape[-1]
        if last:
            chunk = F.pad(chunk, (0, -self.n_samples % self.codec.hop_length))
        latent, self.encoder_states = self.codec.encoder.stream(chunk, self.encoder_states, last)
        if latent.shape[-1] == 0:
            n = self.codec.n_codebooks if n_codebooks is None else n_codebooks
            return torch.zeros(len(chunk), n, 0, dtype=torch.int64, device=chunk.device)
        return self.codec.quantizer.encode(latent, n_codebooks)

    def decode(self, codes: Int[Tensor, "B K T"], *, last: bool = False) -> Float[Tensor, "B 1 L"]:
        """Samples that no later frame changes; maybe none yet."""
        if codes.shape[-1]:
            latent = self.codec.quantizer.decode(codes)
        else:
            latent = torch.zeros(len(codes), self.codec.config.latent_dim, 0, device=codes.device)
        waveform, self.decoder_states = self.codec.decoder.stream(latent, self.decoder_states, last)
        return waveform
