"""SoundStream (arXiv:2107.03312): a causal convolutional autoencoder with residual vector quantisation.

EnCodec's ancestor: no LSTM, no norms, three dilated residual units a stage. One set of weights serves every bitrate,
as training leaves out the last codebooks of each item at random, and cleans speech on request, by a scale and a shift
at the bottleneck. There are no official weights.
Axes: B batch, L waveform samples, D width, T frames, K codebooks.
"""

import dataclasses
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn.utils import parametrize

from nexus.codecs import seanet
from nexus.codecs.codec import Codec
from nexus.codecs.seanet import Coder, SEANetConfig, keep_variance, stream
from nexus.nn.checkpoint import save_folder
from nexus.nn.quantize import QuantizerConfig, ResidualQuantizer
from nexus.process.spectral import mel_reconstruction

# Spectra are of unnormalised windows, and so in the thousands; the paper does not say how its own are scaled.
MEL_WEIGHT = 1e-3


@dataclass(frozen=True, kw_only=True)
class SoundStreamConfig:
    """The paper's sizes: 24 kHz, 75 frames a second, 0.75 to 18 kbps."""

    sample_rate: int = 24000
    n_filters: int = 32
    strides: tuple[int, ...] = (2, 4, 5, 8)  # of the encoder; the decoder has them reversed
    quantizer: QuantizerConfig = field(default_factory=lambda: QuantizerConfig(n_codebooks=24, dim=512))
    weight_norm: bool = False

    def __post_init__(self):
        if not self.strides or min(self.strides) < 2:
            raise ValueError(f"strides must be at least 2 each, got {self.strides}")

    @property
    def hop_length(self) -> int:
        return math.prod(self.strides)

    @property
    def seanet(self) -> SEANetConfig:
        """The decoder as EnCodec's blocks; the encoder differs in its last kernel."""
        return SEANetConfig(
            n_filters=self.n_filters,
            ratios=tuple(reversed(self.strides)),
            n_residual_layers=3,
            residual_kernel_size=7,
            dilation_base=3,
            compress=1,
            conv_shortcut=False,
            n_lstm_layers=0,
            pad_mode="constant",
            weight_norm=self.weight_norm,
        )


class FiLM(nn.Module):
    """Feature-wise linear modulation (arXiv:1709.07871) by a switch: (1 + on * scale) * x + on * shift.

    The switch is one for all frames, or one a frame.
    Deviation: the paper learns a scale and a shift of both positions of the switch; what both have in common is in
    the convolution before already, and so "off" is the identity.
    """

    def __init__(self, dim: int):
        super().__init__()
        self.scale, self.shift = nn.Parameter(torch.zeros(dim)), nn.Parameter(torch.zeros(dim))

    def forward(self, x: Float[Tensor, "B D T"], on: Float[Tensor, "B _"]) -> Float[Tensor, "B D T"]:
        return x + on[:, None] * (self.scale[:, None] * x + self.shift[:, None])


@dataclass(frozen=True)
class SoundStreamOutput:
    """Reconstruction and what a training step needs beside it; codes of codebooks that were left out are -1."""

    waveform: Float[Tensor, "B 1 L"]
    codes: Int[Tensor, "B K T"]
    commitment: Float[Tensor, ""]
    perplexity: Float[Tensor, " K"]


class SoundStream(Codec):
    def __init__(self, config: SoundStreamConfig):
        super().__init__()
        self.config = config
        dim = config.quantizer.dim
        encoder = dataclasses.replace(config.seanet, last_kernel_size=3)
        self.encoder = Coder(seanet.encoder_layers(encoder, 1, dim))
        # At the encoder's end, so that what is cleaned away costs no bits.
        self.film = FiLM(dim)
        self.quantizer = ResidualQuantizer(config.quantizer)
        self.decoder = Coder(seanet.decoder_layers(config.seanet, 1, dim))
        for module in self.modules():
            if isinstance(module, nn.Conv1d | nn.ConvTranspose1d):
                keep_variance(module)

    def forward(
        self,
        waveform: Float[Tensor, "B 1 L"],
        n_codebooks: int | Int[Tensor, " B"] | None = None,
        generator: torch.Generator | None = None,
        *,
        denoise: Bool[Tensor, " B"] | None = None,
    ) -> SoundStreamOutput:
        """Reconstructs; gradients pass the quantiser straight through. In training mode the codebooks learn.

        Args:
            n_codebooks: for all items, or for each: structured quantiser dropout.
            denoise: which items are to be cleaned; by default none.
        """
        quantized = self.quantizer(self.latent(waveform, denoise), n_codebooks, generator)
        output = self.decoder(quantized.vectors)[..., : waveform.shape[-1]]
        return SoundStreamOutput(output, quantized.codes, quantized.commitment, quantized.perplexity)

    def latent(
        self, waveform: Float[Tensor, "B C L"], denoise: Bool[Tensor, " B"] | None = None
    ) -> Float[Tensor, "B D T"]:
        """What is quantised; C must be 1."""
        self.check_waveform(waveform)
        x = self.encoder(waveform)
        return x if denoise is None else self.film(x, denoise.to(x.dtype)[:, None])

    def loss(self, batch: dict[str, Tensor], generator: torch.Generator | None = None) -> dict[str, Tensor]:
        """Reconstruction (eq. 5) and commitment with quantiser dropout; adversarial training adds its own.

        batch["waveform"] is [B, 1, L]; optional are batch["target"], what it should become, and batch["denoise"],
        bool [B], for which items that is a clean version of it.
        """
        waveform = batch["waveform"]
        depths = self.random_depths(len(waveform), generator)
        result = self(waveform, depths, generator, denoise=batch.get("denoise"))
        mel = mel_reconstruction(result.waveform, batch.get("target", waveform), self.sample_rate)
        return {
            "loss": MEL_WEIGHT * mel + result.commitment,
            "mel": mel.detach(),
            "commitment": result.commitment.detach(),
        }

    def random_depths(self, n: int, generator: torch.Generator | None = None) -> Int[Tensor, " n"]:
        """Structured quantiser dropout (section III.C): for each item a number of codebooks from 1 to all of them."""
        return torch.randint(1, self.n_codebooks + 1, (n,), generator=generator)

    @torch.inference_mode()
    def encode(
        self, waveform: Float[Tensor, "B C L"], n_codebooks: int | None = None, *, denoise: bool = False
    ) -> Int[Tensor, "B K T"]:
        """Codes of ceil(L / hop) frames, of the first `n_codebooks` (all by default), of cleaned speech if asked."""
        return self.quantizer.encode(self.latent(waveform, _switch(denoise, waveform)), n_codebooks)

    @torch.inference_mode()
    def decode(self, codes: Int[Tensor, "B K T"], length: int | None = None) -> Float[Tensor, "B 1 L"]:
        """Waveform of T hop samples, or cut to `length`; any number of codebooks up to all."""
        if codes.shape[-1] == 0:
            return torch.zeros(codes.shape[0], 1, 0, device=codes.device)
        waveform = self.decoder(self.quantizer.decode(codes))
        return waveform if length is None else waveform[..., :length]

    @contextmanager
    def streaming(self) -> Iterator["SoundStreamStream"]:
        """`with codec.streaming() as s: s.encode(chunk) ... s.decode(codes) ...`: chunks together equal the whole.

        Every frame of `hop_length` samples is answered at once. A batch holds several streams, which go in step.
        """
        with torch.inference_mode(), parametrize.cached():
            yield SoundStreamStream(self)

    def save(self, folder: str | Path, dtype: torch.dtype | None = None) -> None:
        save_folder(self, folder, kind="soundstream", config=self.config, dtype=dtype)


class SoundStreamStream:
    """Encodes and decodes chunk by chunk; the two directions are independent."""

    def __init__(self, codec: SoundStream):
        self.codec = codec
        self.encoder_states: list[Any] | None = None
        self.decoder_states: list[Any] | None = None

    def encode(
        self,
        chunk: Float[Tensor, "B C L"],
        *,
        n_codebooks: int | None = None,
        denoise: bool = False,
        last: bool = False,
    ) -> Int[Tensor, "B K T"]:
        """Codes of the frames that are complete with this chunk; the switch may turn from chunk to chunk."""
        self.codec.check_samples(chunk)
        latent, self.encoder_states = stream(self.codec.encoder.layers, chunk, self.encoder_states, last)
        if denoise:
            latent = self.codec.film(latent, latent.new_ones(len(latent), 1))
        return self.codec.quantizer.encode(latent, n_codebooks)

    def decode(self, codes: Int[Tensor, "B K T"], *, last: bool = False) -> Float[Tensor, "B 1 L"]:
        """Samples of these frames."""
        latent = self.codec.quantizer.decode(codes)
        waveform, self.decoder_states = stream(self.codec.decoder.layers, latent, self.decoder_states, last)
        return waveform


def _switch(denoise: bool, waveform: Tensor) -> Bool[Tensor, " B"] | None:
    return torch.ones(len(waveform), dtype=torch.bool, device=waveform.device) if denoise else None
