"""EnCodec (arXiv:2210.13438): a convolutional autoencoder over waveforms (SEANet) with residual vector quantisation.

Official weights: `facebook/encodec_24khz` (causal, MIT), `facebook/encodec_32khz` (MusicGen's, CC-BY-NC-4.0).
Axes: B batch, C channels, L waveform samples, D width, T frames, K codebooks.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.utils import parametrize

from nexus.codecs import frames, seanet
from nexus.codecs.codec import Codec
from nexus.codecs.frames import FrameCoderConfig
from nexus.codecs.seanet import Coder, SEANetConfig, keep_variance, stream
from nexus.nn.checkpoint import save_folder
from nexus.nn.quantize import QuantizerConfig, ResidualQuantizer
from nexus.process.spectral import mel_distance


@dataclass(frozen=True, kw_only=True)
class EncodecConfig:
    sample_rate: int = 24000
    channels: int = 1
    seanet: SEANetConfig = field(default_factory=SEANetConfig)
    quantizer: QuantizerConfig = field(default_factory=QuantizerConfig)
    frames: FrameCoderConfig | None = None  # the cheap encoder and decoder instead of SEANet

    def __post_init__(self):
        if self.frames is not None and self.channels != 1:
            raise ValueError(f"the frame coder is mono, got {self.channels} channels")
        if self.frames is not None and self.frames.vocos.sample_rate != self.sample_rate:
            raise ValueError(f"the Vocos is for {self.frames.vocos.sample_rate} Hz, the codec for {self.sample_rate}")

    @staticmethod
    def encodec_24khz() -> "EncodecConfig":
        """Causal, 75 Hz, up to 24 kbps."""
        return EncodecConfig()

    @staticmethod
    def encodec_32khz() -> "EncodecConfig":
        """MusicGen's: not causal, 50 Hz, 4 codebooks of 2048."""
        return EncodecConfig(
            sample_rate=32000,
            seanet=SEANetConfig(n_filters=64, ratios=(8, 5, 4, 4), conv_shortcut=False, causal=False),
            quantizer=QuantizerConfig(n_codebooks=4, codebook_size=2048),
        )

    @property
    def hop_length(self) -> int:
        return self.frames.hop_length if self.frames else self.seanet.hop_length


@dataclass(frozen=True)
class EncodecOutput:
    """Reconstruction [B, C, L] and what a training step needs beside it."""

    waveform: Float[Tensor, "B C L"]
    codes: Int[Tensor, "B K T"]
    commitment: Float[Tensor, ""]
    perplexity: Float[Tensor, " K"]


class Encodec(Codec):
    def __init__(self, config: EncodecConfig):
        super().__init__()
        self.config = config
        self.quantizer = ResidualQuantizer(config.quantizer)
        latent_dim = config.quantizer.dim
        if config.frames is not None:
            self.encoder = Coder(frames.encoder_layers(config.frames, latent_dim))
            self.decoder = Coder(frames.decoder_layers(config.frames, latent_dim))
            return
        self.encoder = Coder(seanet.encoder_layers(config.seanet, config.channels, latent_dim))
        self.decoder = Coder(seanet.decoder_layers(config.seanet, config.channels, latent_dim))
        for module in self.modules():
            if isinstance(module, nn.Conv1d | nn.ConvTranspose1d):
                keep_variance(module)

    def codebooks_at(self, bandwidth: float) -> int:
        """How many codebooks fit into `bandwidth` kbps."""
        per_codebook = math.log2(self.codebook_size) * math.ceil(self.frame_rate) / 1000  # kbps
        n = math.floor(bandwidth / per_codebook + 1e-9)
        if not 1 <= n <= self.n_codebooks:
            most = per_codebook * self.n_codebooks
            raise ValueError(f"bandwidth must be {per_codebook:g} to {most:g} kbps, got {bandwidth:g}")
        return n

    def forward(
        self,
        waveform: Float[Tensor, "B C L"],
        n_codebooks: int | None = None,
        generator: torch.Generator | None = None,
    ) -> EncodecOutput:
        """Reconstructs; gradients pass the quantiser straight through. In training mode the codebooks learn."""
        self.check_waveform(waveform)
        quantized = self.quantizer(self.encoder(waveform), n_codebooks, generator)
        output = self.decoder(quantized.vectors)[..., : waveform.shape[-1]]
        return EncodecOutput(output, quantized.codes, quantized.commitment, quantized.perplexity)

    def loss(self, batch: dict[str, Tensor], generator: torch.Generator | None = None) -> dict[str, Tensor]:
        """Multi-scale mel distance and commitment, at a random number of codebooks; batch["waveform"] is [B, C, L]."""
        result = self(batch["waveform"], self.random_depth(generator), generator)
        mel = mel_distance(result.waveform, batch["waveform"], self.sample_rate)
        return {"loss": mel + result.commitment, "mel": mel.detach(), "commitment": result.commitment.detach()}

    def random_depth(self, generator: torch.Generator | None = None) -> int:
        """Quantiser dropout: a number of codebooks from 1 to all of them."""
        return int(torch.randint(1, self.n_codebooks + 1, (), generator=generator))

    @torch.inference_mode()
    def encode(
        self, waveform: Float[Tensor, "B C L"], bandwidth: float | None = None, n_codebooks: int | None = None
    ) -> Int[Tensor, "B K T"]:
        """Codes of ceil(L / hop) frames.

        Args:
            bandwidth: kbps; the number of codebooks follows. Give this or `n_codebooks`; by default all are used.
        """
        self.check_waveform(waveform)
        return self.quantizer.encode(self.encoder(waveform), self.depth(bandwidth, n_codebooks))

    def depth(self, bandwidth: float | None, n_codebooks: int | None) -> int | None:
        """How many codebooks `bandwidth` or `n_codebooks` means; None is all.

        Raises:
            ValueError: both are given, or a bandwidth that the codec does not have.
        """
        if bandwidth is None:
            return n_codebooks
        if n_codebooks is not None:
            raise ValueError("give bandwidth or n_codebooks, not both")
        return self.codebooks_at(bandwidth)

    @torch.inference_mode()
    def decode(self, codes: Int[Tensor, "B K T"], length: int | None = None) -> Float[Tensor, "B C L"]:
        """Waveform of T hop samples, or cut to `length`; any number of codebooks up to all."""
        if codes.shape[-1] == 0:
            return torch.zeros(codes.shape[0], self.config.channels, 0, device=codes.device)
        waveform = self.decoder(self.quantizer.decode(codes))
        return waveform if length is None else waveform[..., :length]

    @contextmanager
    def streaming(self) -> Iterator["EncodecStream"]:
        """`with codec.streaming() as s: s.encode(chunk) ... s.decode(codes) ...`: chunks together equal the whole.

        A causal codec with "constant" padding answers every frame at once; "reflect" holds the first frames back
        until what they reflect is there, and one that is not causal stays behind by its look-ahead. Pass `last=True`
        with the last chunk. A batch holds several streams, which go in step.

        Raises:
            ValueError: a codec with group norms, which need the whole; `WindowedEncodec` streams by windows.
        """
        if self.config.frames is None and self.config.seanet.group_norm:
            raise ValueError("group norms need the whole sound; stream by windows, with WindowedEncodec")
        with torch.inference_mode(), parametrize.cached():
            yield EncodecStream(self)

    def save(self, folder: str | Path, dtype: torch.dtype | None = None) -> None:
        save_folder(self, folder, kind="encodec", config=self.config, dtype=dtype)


class EncodecStream:
    """Encodes and decodes chunk by chunk; the two directions are independent."""

    def __init__(self, codec: Encodec):
        self.codec = codec
        self.encoder_states: list[Any] | None = None
        self.decoder_states: list[Any] | None = None

    def encode(
        self,
        chunk: Float[Tensor, "B C L"],
        *,
        bandwidth: float | None = None,
        n_codebooks: int | None = None,
        last: bool = False,
    ) -> Int[Tensor, "B K T"]:
        """Codes of the frames that are complete with this chunk, of any length; maybe none yet."""
        self.codec.check_samples(chunk)
        depth = self.codec.depth(bandwidth, n_codebooks)
        latent, self.encoder_states = stream(self.codec.encoder.layers, chunk, self.encoder_states, last)
        return self.codec.quantizer.encode(latent, depth)

    def decode(self, codes: Int[Tensor, "B K T"], *, last: bool = False) -> Float[Tensor, "B C L"]:
        """Samples that no later frame changes; maybe none yet."""
        latent = self.codec.quantizer.decode(codes)
        waveform, self.decoder_states = stream(self.codec.decoder.layers, latent, self.decoder_states, last)
        return waveform
