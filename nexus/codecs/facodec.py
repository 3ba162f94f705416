"""FACodec (NaturalSpeech 3, arXiv:2403.03100, section 3.2): speech as prosody, content, timbre and detail.

A convolutional encoder with alias-free activations gives a latent a frame. Three stacks of factorised codebooks code
its prosody, its content, and what these two leave over; a transformer makes one vector of the voice, the timbre, which
scales and shifts the sum of the three in the decoder. Predictors (`nexus.codecs.facodec_predictors`) teach what
belongs where.
Official weights (Apache-2.0): `amphion/naturalspeech3_facodec`, for 16 kHz speech; version 2 hears prosody in the
lowest mel bins. Mono. Not causal.
Axes: B batch, L waveform samples, D width, T frames, K codebooks, M mel bins.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.utils import parametrize

from nexus.codecs.convolutional import ConvolutionalCodec, start_without_bias
from nexus.media.features import MelConfig, log_mel
from nexus.nn.alias_free import AliasFree
from nexus.nn.chain import Chain, Residual
from nexus.nn.checkpoint import save_folder
from nexus.nn.conv import Conv1d, ConvTranspose1d
from nexus.nn.factorised import Factorised, FactorisedConfig, FactorisedQuantizer
from nexus.nn.frame_transformer import FrameTransformer
from nexus.nn.quantize import n_used
from nexus.nn.snake import SnakeBeta
from nexus.process.spectral import mel_distance

COMMITMENT_WEIGHT = 0.005  # as published


@dataclass(frozen=True, kw_only=True)
class FACodecConfig:
    sample_rate: int = 16000
    encoder_dim: int = 32  # doubles at each stage
    decoder_dim: int = 1024  # halves at each stage
    dim: int = 256  # of the latent and the timbre
    ratios: tuple[int, ...] = (2, 4, 5, 5)  # strides of the encoder; the decoder has them reversed
    n_codebooks: tuple[int, int, int] = (1, 2, 3)  # of prosody, content and detail
    codebook_size: int = 1024
    codebook_dim: int = 8
    n_layers: int = 4  # of the transformer that hears the timbre
    n_heads: int = 4
    hidden_dim: int = 1024
    detail_dropout: float = 0.75  # share of the items that train without detail (section 3.2)
    prosody_bins: int | None = None  # version 2: the lowest of 80 mel bins, which prosody is coded from
    weight_norm: bool = False  # for training; official weights load with it folded

    def __post_init__(self):
        if not self.ratios or min(self.ratios) < 1:
            raise ValueError(f"ratios must be positive, got {self.ratios}")
        if len(self.n_codebooks) != 3 or min(self.n_codebooks) < 1:
            raise ValueError(f"prosody, content and detail have a codebook each or more, got {self.n_codebooks}")
        if self.decoder_dim % 2 ** len(self.ratios):
            raise ValueError(f"decoder_dim halves {len(self.ratios)} times, {self.decoder_dim} can't")
        if self.prosody_bins is not None and not 1 <= self.prosody_bins <= 80:
            raise ValueError(f"prosody_bins must be 1 to 80, got {self.prosody_bins}")

    @property
    def hop_length(self) -> int:
        return math.prod(self.ratios)

    @property
    def mel(self) -> MelConfig:
        """What prosody is coded from in version 2, a frame a frame of the codec."""
        return MelConfig.hifigan(
            sample_rate=self.sample_rate, hop_length=self.hop_length, win_length=4 * self.hop_length, f_max=None
        )

    def quantizer(self, n_codebooks: int) -> FactorisedConfig:
        return FactorisedConfig(
            dim=self.dim,
            n_codebooks=n_codebooks,
            codebook_size=self.codebook_size,
            codebook_dim=self.codebook_dim,
            dropout=0.0,
            weight_norm=self.weight_norm,
        )


def residual_unit(dim: int, dilation: int, weight_norm: bool) -> Residual:
    return Residual(
        AliasFree(SnakeBeta(dim)),
        Conv1d(dim, dim, 7, dilation=dilation, weight_norm=weight_norm),
        AliasFree(SnakeBeta(dim)),
        Conv1d(dim, dim, 1, weight_norm=weight_norm),
    )


def residual_units(dim: int, weight_norm: bool) -> list[nn.Module]:
    return [residual_unit(dim, dilation, weight_norm) for dilation in (1, 3, 9)]


def encoder(config: FACodecConfig) -> Chain:
    """Waveform [B, 1, L] to latent [B, D, T]."""
    dim, norm = config.encoder_dim, config.weight_norm
    stages = []
    for ratio in config.ratios:
        down = Conv1d(dim, 2 * dim, 2 * ratio, stride=ratio, weight_norm=norm)
        stages.append(Chain(*residual_units(dim, norm), AliasFree(SnakeBeta(dim)), down))
        dim *= 2
    first, last = Conv1d(1, config.encoder_dim, 7, weight_norm=norm), Conv1d(dim, config.dim, 3, weight_norm=norm)
    return Chain(first, *stages, AliasFree(SnakeBeta(dim)), last)


def decoder(config: FACodecConfig) -> Chain:
    """Latent [B, D, T] to waveform [B, 1, L]."""
    dim, norm = config.decoder_dim, config.weight_norm
    stages = []
    for ratio in reversed(config.ratios):
        up = ConvTranspose1d(dim, dim // 2, 2 * ratio, stride=ratio, weight_norm=norm)
        stages.append(Chain(AliasFree(SnakeBeta(dim)), up, *residual_units(dim // 2, norm)))
        dim //= 2
    first = Conv1d(config.dim, config.decoder_dim, 7, weight_norm=norm)
    return Chain(first, *stages, AliasFree(SnakeBeta(dim)), Conv1d(dim, 1, 7, weight_norm=norm), nn.Tanh())


class Prosody(nn.Module):
    """Version 2's own way to prosody: from the lowest mel bins, which hold the pitch and little of the voice."""

    def __init__(self, config: FACodecConfig):
        super().__init__()
        assert config.prosody_bins is not None
        self.config, self.n_bins = config, config.prosody_bins
        self.proj_in = nn.Linear(self.n_bins, config.dim)
        self.encoder = FrameTransformer(config.dim, config.n_layers, config.n_heads, config.hidden_dim, 5)

    def forward(self, waveform: Float[Tensor, "B 1 L"]) -> Float[Tensor, "B D T"]:
        mel = log_mel(waveform[:, 0], self.config.mel)[:, : self.n_bins]
        return self.encoder(self.proj_in(mel.mT.to(waveform.dtype))).mT


class Factors(NamedTuple):
    """What each stack of codebooks gives."""

    prosody: Factorised
    content: Factorised
    detail: Factorised


@dataclass(frozen=True)
class FACodecOutput:
    """Reconstruction of the input's length and what it was taken apart into; `mixed` is what the decoder was given."""

    waveform: Float[Tensor, "B 1 L"]
    factors: Factors
    timbre: Float[Tensor, "B D"]
    mixed: Float[Tensor, "B D T"]


class FACodec(ConvolutionalCodec):
    def __init__(self, config: FACodecConfig):
        super().__init__()
        self.config = config
        self.encoder, self.decoder = encoder(config), decoder(config)
        quantizers = [FactorisedQuantizer(config.quantizer(n)) for n in config.n_codebooks]
        self.prosody, self.content, self.detail = quantizers
        self.prosody_encoder = Prosody(config) if config.prosody_bins else None
        self.timbre_encoder = FrameTransformer(config.dim, config.n_layers, config.n_heads, config.hidden_dim, 5)
        self.style = nn.Linear(config.dim, 2 * config.dim)
        start_without_bias(self)
        with torch.no_grad():  # starts without a say
            self.style.bias.copy_(torch.tensor([1.0, 0.0]).repeat_interleave(config.dim))

    @property
    def n_codebooks(self) -> int:
        return sum(self.config.n_codebooks)

    def forward(
        self, waveform: Float[Tensor, "B C L"], generator: torch.Generator | None = None, *, guided: bool = False
    ) -> FACodecOutput:
        """Reconstructs; gradients pass the codebooks straight through. In training mode with detail dropout.

        Args:
            guided: prosody and content learn from predictors alone, not from the waveform, as published; without
                labels for predictors they would learn nothing.
        """
        padded = self.whole_frames(waveform)
        latent = self.encoder(padded)
        factors, timbre = self._factors(latent, padded), self._timbre(latent)
        heard = [factor.vectors.detach() if guided else factor.vectors for factor in factors[:2]]
        detail = factors.detail.vectors
        if self.training:
            kept = torch.rand(len(detail), 1, 1, generator=generator) >= self.config.detail_dropout
            detail = detail * kept.to(detail)
        mixed = heard[0] + heard[1] + detail
        output = self.decoder(self._styled(mixed, timbre))[..., : waveform.shape[-1]]
        return FACodecOutput(output, factors, timbre, mixed)

    def loss(self, batch: dict[str, Tensor], generator: torch.Generator | None = None) -> dict[str, Tensor]:
        """Multi-scale mel distance, commitment and codebook losses; batch["waveform"] is [B, 1, L]."""
        return self.losses(self(batch["waveform"], generator), batch["waveform"])

    def losses(
        self,
        result: FACodecOutput,
        waveform: Float[Tensor, "B 1 L"],
        mel_weight: float = 1.0,
        commitment_weight: float = COMMITMENT_WEIGHT,
    ) -> dict[str, Tensor]:
        """`loss` of a result that is there already, as adversarial training and predictors have it."""
        mel = mel_distance(result.waveform, waveform, self.sample_rate)
        commitment = torch.stack([factor.commitment for factor in result.factors]).sum()
        codebook = torch.stack([factor.codebook for factor in result.factors]).sum()
        total = mel_weight * mel + codebook + commitment_weight * commitment
        figures = {"mel": mel.detach(), "commitment": commitment.detach(), "codebook": codebook.detach()}
        perplexity = torch.cat([factor.perplexity for factor in result.factors])
        codes = torch.cat([factor.codes for factor in result.factors], dim=1)
        return {"loss": total, **figures, "perplexity": perplexity.mean(), "used": n_used(codes)}

    @torch.inference_mode()
    def encode(self, waveform: Float[Tensor, "B C L"]) -> Int[Tensor, "B K T"]:
        """Codes of ceil(L / hop) frames: rows of prosody, then of content, then of detail."""
        padded = self.whole_frames(waveform)
        prosody = None if self.prosody_encoder is None else self.prosody_encoder(padded)
        return self._codes(self.encoder(padded), prosody)

    @torch.inference_mode()
    def timbre(self, waveform: Float[Tensor, "B C L"]) -> Float[Tensor, "B D"]:
        """The voice of a recording, one vector; some seconds of it tell more."""
        return self._timbre(self.encoder(self.whole_frames(waveform)))

    @torch.inference_mode()
    def decode(
        self, codes: Int[Tensor, "B K T"], timbre: Float[Tensor, "B D"], length: int | None = None
    ) -> Float[Tensor, "B 1 L"]:
        """Waveform of T hop samples, or cut to `length`, spoken by the voice of `timbre`.

        Rows of detail may be left out, from the last on; what is said and how stays.
        """
        self.check_length(codes.shape[-1], length)
        mixed = self._mixed(codes)
        if codes.shape[-1] == 0:
            return mixed.new_zeros(len(codes), 1, 0)
        waveform = self.decoder(self._styled(mixed, timbre))
        return waveform if length is None else waveform[..., :length]

    def convert(
        self, waveform: Float[Tensor, "B C L"], voice: Float[Tensor, "B C M"], *, keep_detail: bool = False
    ) -> Float[Tensor, "B 1 L"]:
        """What `waveform` says, spoken by the voice of the recording `voice`.

        Args:
            keep_detail: with the codes of detail, which hold some of the first voice.
        """
        codes = self.encode(waveform)
        kept = codes if keep_detail else codes[:, : self._starts[2]]
        return self.decode(kept, self.timbre(voice), length=waveform.shape[-1])

    @contextmanager
    def streaming(self, timbre: Float[Tensor, "B D"] | None = None) -> Iterator["FACodecStream"]:
        """`with codec.streaming(timbre) as s: s.encode(chunk) ... s.decode(codes)`: chunks together equal the whole.

        Codes stay `encoder_look_ahead` samples behind, waveforms `decoder_look_ahead` frames; pass `last=True` with the
        last chunk. The timbre, which decoding needs, is of a whole recording: `codec.timbre`.
        """
        with torch.inference_mode(), parametrize.cached():
            yield FACodecStream(self, timbre)

    def save(self, folder: str | Path, dtype: torch.dtype | None = None) -> None:
        save_folder(self, folder, kind="facodec", config=self.config, dtype=dtype)

    @property
    def _starts(self) -> tuple[int, int, int]:
        """The first row of each stack's codes."""
        n_prosody, n_content, _ = self.config.n_codebooks
        return 0, n_prosody, n_prosody + n_content

    def _factors(self, latent: Float[Tensor, "B D T"], padded: Float[Tensor, "B 1 L"]) -> Factors:
        prosody = self.prosody(latent if self.prosody_encoder is None else self.prosody_encoder(padded))
        content = self.content(latent)
        return Factors(prosody, content, self.detail(latent - (prosody.vectors + content.vectors).detach()))

    def _codes(
        self, latent: Float[Tensor, "B D T"], prosody: Float[Tensor, "B D T"] | None = None
    ) -> Int[Tensor, "B K T"]:
        codes = [self.prosody.encode(latent if prosody is None else prosody), self.content.encode(latent)]
        told = self.prosody.decode(codes[0]) + self.content.decode(codes[1])
        return torch.cat([*codes, self.detail.encode(latent - told)], dim=1)

    def _mixed(self, codes: Int[Tensor, "B K T"]) -> Float[Tensor, "B D T"]:
        _, content, detail = self._starts
        if not detail <= codes.shape[1] <= self.n_codebooks:
            raise ValueError(f"codes must have {detail} to {self.n_codebooks} codebooks, got {codes.shape[1]}")
        mixed = self.prosody.decode(codes[:, :content]) + self.content.decode(codes[:, content:detail])
        return mixed + self.detail.decode(codes[:, detail:]) if codes.shape[1] > detail else mixed

    def _timbre(self, latent: Float[Tensor, "B D T"]) -> Float[Tensor, "B D"]:
        return self.timbre_encoder(latent.mT).mean(1)

    def _styled(self, mixed: Float[Tensor, "B D T"], timbre: Float[Tensor, "B D"]) -> Float[Tensor, "B D T"]:
        """Conditional layer norm: each frame normalised, then scaled and shifted by the voice."""
        scale, shift = self.style(timbre)[..., None].chunk(2, dim=1)
        return F.layer_norm(mixed.mT, mixed.shape[1:2]).mT * scale + shift


class FACodecStream:
    """Encodes and decodes chunk by chunk; the two directions are independent."""

    def __init__(self, codec: FACodec, timbre: Tensor | None):
        self.codec, self.voice = codec, timbre
        self.encoder_state: list[Any] | None = None
        self.decoder_state: list[Any] | None = None
        self.n_samples = 0

    def encode(self, chunk: Float[Tensor, "B C L"], *, last: bool = False) -> Int[Tensor, "B K T"]:
        """Codes of the frames that are complete with this chunk, of any length; maybe none yet."""
        if self.codec.prosody_encoder is not None:
            raise ValueError("version 2 hears prosody in the whole recording, so it can't encode a stream")
        self.codec.check_samples(chunk)
        self.n_samples += chunk.shape[-1]
        if last:
            chunk = F.pad(chunk, (0, -self.n_samples % self.codec.hop_length))
        latent, self.encoder_state = self.codec.encoder.stream(chunk, self.encoder_state, last)
        if latent.shape[-1] == 0:
            return torch.zeros(len(chunk), self.codec.n_codebooks, 0, dtype=torch.int64, device=chunk.device)
        return self.codec._codes(latent)

    def decode(self, codes: Int[Tensor, "B K T"], *, last: bool = False) -> Float[Tensor, "B 1 L"]:
        """Samples that no later frame changes; maybe none yet."""
        if self.voice is None:
            raise ValueError("decoding needs a voice: `codec.streaming(codec.timbre(recording))`")
        mixed = self.codec._styled(self.codec._mixed(codes), self.voice)
        waveform, self.decoder_state = self.codec.decoder.stream(mixed, self.decoder_state, last)
        return waveform
