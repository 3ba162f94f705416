"""NeMo's audio codecs with finite scalar quantisation (arXiv:2406.05298, section 2.2; arXiv:2409.12117).

The encoder is a HiFi-GAN generator (arXiv:2010.05646) turned round, the decoder one as it is; between them every
number of the latent is rounded to a few levels (`nexus.nn.fsq`). Not causal.
Official weights (NVIDIA's own licence, not for commerce): `nvidia/audio-codec-44khz`,
`nvidia/low-frame-rate-speech-codec-22khz`. Mono: the channels of a recording are items of a batch.
Axes: B batch, L waveform samples, D width, T frames, K codebooks.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.utils import parametrize

from nexus.codecs.convolutional import ConvolutionalCodec
from nexus.nn.branches import Mean
from nexus.nn.chain import Chain, Residual
from nexus.nn.checkpoint import save_folder
from nexus.nn.conv import Conv1d, ConvTranspose1d
from nexus.nn.fsq import FiniteScalarQuantizer, FSQConfig
from nexus.nn.quantize import n_used
from nexus.nn.snake import HalfSnake, Snake
from nexus.process.spectral import compressed_distances

SPECTRAL_WEIGHT = 10.0  # of the mel and of the STFT distance beside adversarial losses, as published
Activation = Literal["lrelu", "elu", "snake", "half_snake"]


@dataclass(frozen=True, kw_only=True)
class HalfConfig:
    """One half of the codec; `dim` is its width at the waveform's end, or of the decoder at the latent's."""

    dim: int
    ratios: tuple[int, ...]  # strides, from the input on
    activation: Activation = "lrelu"
    kernel_sizes: tuple[int, ...] = (3, 7, 11)  # of residual blocks side by side
    dilations: tuple[int, ...] = (1, 3, 5)  # in each of them, in turn
    first_kernel_size: int = 7
    last_kernel_size: int = 7
    pad_mode: Literal["reflect", "constant"] = "reflect"
    weight_norm: bool = False  # for training; official weights load with it folded

    def __post_init__(self):
        sizes = (*self.kernel_sizes, self.first_kernel_size, self.last_kernel_size)
        if not self.ratios or min(self.ratios) < 1 or not self.kernel_sizes or not self.dilations:
            raise ValueError(f"ratios, kernel_sizes and dilations must be there and positive, got {self}")
        if any(size < 1 or size % 2 == 0 for size in sizes):
            raise ValueError(f"kernel sizes must be odd to keep the length, got {sizes}")
        if self.activation not in ("lrelu", "elu", "snake", "half_snake"):
            raise ValueError(f"activation must be lrelu, elu, snake or half_snake, got {self.activation!r}")
        if self.pad_mode not in ("reflect", "constant"):
            raise ValueError(f"pad_mode must be 'reflect' or 'constant', got {self.pad_mode!r}")


@dataclass(frozen=True, kw_only=True)
class FSQCodecConfig:
    sample_rate: int = 44100
    encoder: HalfConfig = field(default_factory=lambda: HalfConfig(dim=48, ratios=(2, 4, 8, 8)))
    decoder: HalfConfig = field(
        default_factory=lambda: HalfConfig(dim=768, ratios=(8, 8, 4, 2), activation="half_snake", last_kernel_size=3)
    )
    quantizer: FSQConfig = field(default_factory=FSQConfig)
    output: Literal["clamp", "tanh"] = "clamp"  # what keeps the waveform in [-1, 1]

    def __post_init__(self):
        if math.prod(self.encoder.ratios) != math.prod(self.decoder.ratios):
            raise ValueError(
                f"encoder and decoder must have one hop, got ratios {self.encoder.ratios} and {self.decoder.ratios}"
            )
        if self.decoder.dim % 2 ** len(self.decoder.ratios):
            raise ValueError(f"the decoder's dim halves at each stage, {self.decoder.dim} does not go so often")
        if self.output not in ("clamp", "tanh"):
            raise ValueError(f"output must be 'clamp' or 'tanh', got {self.output!r}")

    @staticmethod
    def audio_codec_44khz() -> "FSQCodecConfig":
        """86.1 Hz, 6.9 kb/s, 8 codebooks of 1000."""
        return FSQCodecConfig()

    @staticmethod
    def low_frame_rate_22khz() -> "FSQCodecConfig":
        """21.5 Hz, 1.89 kb/s, 8 codebooks of 2016."""
        return FSQCodecConfig(
            sample_rate=22050,
            encoder=HalfConfig(dim=48, ratios=(2, 2, 4, 8, 8), dilations=(1,)),
            decoder=HalfConfig(dim=1024, ratios=(8, 8, 4, 2, 2), last_kernel_size=3),
            quantizer=FSQConfig(levels=(8, 7, 6, 6)),
            output="tanh",
        )

    @property
    def hop_length(self) -> int:
        return math.prod(self.encoder.ratios)


def activation(config: HalfConfig, dim: int) -> nn.Module:
    learnt = {"snake": Snake, "half_snake": HalfSnake}
    if config.activation in learnt:
        return learnt[config.activation](dim)
    return nn.ELU() if config.activation == "elu" else nn.LeakyReLU()


def conv(config: HalfConfig, c_in: int, c_out: int, kernel_size: int, **options: int) -> Conv1d:
    return Conv1d(
        c_in,
        c_out,
        kernel_size,
        pad_mode=config.pad_mode,
        weight_norm=config.weight_norm,
        **options,  # type: ignore[arg-type]
    )


def fused_blocks(config: HalfConfig, dim: int) -> Mean:
    """Rows of residual blocks of several kernel sizes, side by side (HiFi-GAN, section 2.2)."""
    return Mean(
        *[
            Chain(
                *[
                    Residual(
                        activation(config, dim),
                        conv(config, dim, dim, kernel_size, dilation=dilation),
                        activation(config, dim),
                        conv(config, dim, dim, kernel_size),
                    )
                    for dilation in config.dilations
                ]
            )
            for kernel_size in config.kernel_sizes
        ]
    )


def encoder(config: HalfConfig, latent_dim: int) -> Chain:
    """Waveform [B, 1, L] to latent [B, D, T]; a stage is residual blocks, an activation and a strided layer."""
    dim, stages = config.dim, []
    for ratio in config.ratios:
        down = conv(config, dim, 2 * dim, 2 * ratio, stride=ratio)
        stages.append(Chain(fused_blocks(config, dim), activation(config, dim), down))
        dim *= 2
    last = conv(config, dim, latent_dim, config.last_kernel_size)
    return Chain(conv(config, 1, config.dim, config.first_kernel_size), *stages, activation(config, dim), last)


def decoder(config: HalfConfig, latent_dim: int, output: str) -> Chain:
    """Latent [B, D, T] to waveform [B, 1, L]; a stage is an activation, a transposed layer and residual blocks."""
    dim, stages = config.dim, []
    for ratio in config.ratios:
        up = ConvTranspose1d(dim, dim // 2, 2 * ratio, stride=ratio, weight_norm=config.weight_norm)
        stages.append(Chain(activation(config, dim), up, fused_blocks(config, dim // 2)))
        dim //= 2
    last = (activation(config, dim), conv(config, dim, 1, config.last_kernel_size))
    bounded = nn.Tanh() if output == "tanh" else nn.Hardtanh()
    return Chain(conv(config, latent_dim, config.dim, config.first_kernel_size), *stages, *last, bounded)


@dataclass(frozen=True)
class FSQCodecOutput:
    """Reconstruction of the input's length, its codes, and how many of each codebook's are in use."""

    waveform: Float[Tensor, "B 1 L"]
    codes: Int[Tensor, "B K T"]
    perplexity: Float[Tensor, " K"]


class FSQCodec(ConvolutionalCodec):
    def __init__(self, config: FSQCodecConfig):
        super().__init__()
        self.config = config
        self.encoder = encoder(config.encoder, config.quantizer.dim)
        self.quantizer = FiniteScalarQuantizer(config.quantizer)
        self.decoder = decoder(config.decoder, config.quantizer.dim, config.output)

    @property
    def codebook_size(self) -> int:
        return self.config.quantizer.codebook_size

    @property
    def n_codebooks(self) -> int:
        return self.config.quantizer.n_groups

    def forward(self, waveform: Float[Tensor, "B C L"]) -> FSQCodecOutput:
        """Reconstructs; gradients pass the rounding straight through."""
        quantized = self.quantizer(self.encoder(self.whole_frames(waveform)))
        output = self.decoder(quantized.vectors)[..., : waveform.shape[-1]]
        return FSQCodecOutput(output, quantized.codes, quantized.perplexity)

    def loss(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Ten times the mel and STFT distances over seven windows; batch["waveform"] is [B, 1, L]."""
        return self.losses(self(batch["waveform"]), batch["waveform"])

    def losses(self, result: FSQCodecOutput, waveform: Float[Tensor, "B 1 L"]) -> dict[str, Tensor]:
        """`loss` of a result that is there already, as adversarial training has it."""
        mel, stft = compressed_distances(result.waveform, waveform, self.sample_rate)
        return {
            "loss": SPECTRAL_WEIGHT * (mel + stft),
            "mel": mel.detach(),
            "stft": stft.detach(),
            "perplexity": result.perplexity.mean(),
            "used": n_used(result.codes),
        }

    @torch.inference_mode()
    def encode(self, waveform: Float[Tensor, "B C L"]) -> Int[Tensor, "B K T"]:
        """Codes of ceil(L / hop) frames; no codebook can be left out, each holds channels of its own."""
        return self.quantizer.encode(self.encoder(self.whole_frames(waveform)))

    @torch.inference_mode()
    def decode(self, codes: Int[Tensor, "B K T"], length: int | None = None) -> Float[Tensor, "B 1 L"]:
        """Waveform of T hop samples, or cut to `length`."""
        self.check_length(codes.shape[-1], length)
        vectors = self.quantizer.decode(codes)
        if codes.shape[-1] == 0:
            return vectors.new_zeros(codes.shape[0], 1, 0)
        waveform = self.decoder(vectors.to(self._dtype()))
        return waveform if length is None else waveform[..., :length]

    @contextmanager
    def streaming(self) -> Iterator["FSQCodecStream"]:
        """`with codec.streaming() as s: s.encode(chunk) ... s.decode(codes) ...`: chunks together equal the whole.

        The codec is not causal: codes stay `encoder_look_ahead` samples behind, waveforms `decoder_look_ahead` frames;
        pass `last=True` with the last chunk. Memory does not grow with the length.
        """
        with torch.inference_mode(), parametrize.cached():
            yield FSQCodecStream(self)

    def save(self, folder: str | Path, dtype: torch.dtype | None = None) -> None:
        save_folder(self, folder, kind="fsq-codec", config=self.config, dtype=dtype)

    def _dtype(self) -> torch.dtype:
        return next(self.decoder.parameters()).dtype


class FSQCodecStream:
    """Encodes and decodes chunk by chunk; the two directions are independent."""

    def __init__(self, codec: FSQCodec):
        self.codec = codec
        self.encoder_state: list[Any] | None = None
        self.decoder_state: list[Any] | None = None
        self.n_samples = 0

    def encode(self, chunk: Float[Tensor, "B C L"], *, last: bool = False) -> Int[Tensor, "B K T"]:
        """Codes of the frames that are complete with this chunk, of any length; maybe none yet."""
        self.codec.check_samples(chunk)
        self.n_samples += chunk.shape[-1]
        if last:
            chunk = F.pad(chunk, (0, -self.n_samples % self.codec.hop_length))
        latent, self.encoder_state = self.codec.encoder.stream(chunk, self.encoder_state, last)
        return self.codec.quantizer.encode(latent)

    def decode(self, codes: Int[Tensor, "B K T"], *, last: bool = False) -> Float[Tensor, "B 1 L"]:
        """Samples that no later frame changes; maybe none yet."""
        latent = self.codec.quantizer.decode(codes).to(self.codec._dtype())
        waveform, self.decoder_state = self.codec.decoder.stream(latent, self.decoder_state, last)
        return waveform
