"""Mimi (arXiv:2410.00037, section 3.3): a causal speech codec whose first code carries meaning, 12.5 frames a second.

SEANet and a sliding-window transformer on each side, a strided convolution between them and the split residual
quantiser. Official weights: `kyutai/mimi` (CC-BY-4.0), 32 codebooks of 2048; Moshi speaks the first 8 of them.
Axes: B batch, C channels, L waveform samples, D width, T frames, K codebooks, V width of the codebooks, M features.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from nexus.codecs.codec import Codec
from nexus.codecs.seanet import Coder, SEANetConfig, decoder_layers, encoder_layers, keep_variance, run, stream
from nexus.nn.checkpoint import save_folder
from nexus.nn.conv import Conv1d, ConvTranspose1d
from nexus.nn.quantize import QuantizerConfig
from nexus.nn.sliding import SlidingTransformer, SlidingTransformerConfig
from nexus.nn.split_quantize import SplitQuantizer
from nexus.process.spectral import mel_distance

# Longer sounds pass through in pieces of so many frames (8 s of the official model): memory stays flat.
CHUNK_FRAMES = 100


def mimi_seanet() -> SEANetConfig:
    return SEANetConfig(
        n_filters=64,
        ratios=(8, 6, 5, 4),
        last_kernel_size=3,
        conv_shortcut=False,
        n_lstm_layers=0,
        pad_mode="constant",
        weight_norm=False,
    )


@dataclass(frozen=True, kw_only=True)
class MimiConfig:
    """The defaults are the official model."""

    sample_rate: int = 24000
    channels: int = 1
    latent_dim: int = 512
    seanet: SEANetConfig = field(default_factory=mimi_seanet)
    transformer: SlidingTransformerConfig = field(default_factory=SlidingTransformerConfig)
    stride: int = 2  # of the convolutions between the transformers and the quantiser
    upsample_groups: int = 512
    quantizer: QuantizerConfig = field(
        default_factory=lambda: QuantizerConfig(n_codebooks=32, codebook_size=2048, dim=256)
    )
    n_semantic: int = 1  # codebooks of meaning
    silence_to_whole_frames: bool = False  # lengthen the sound, as Kyutai's program; else each layer pads its own input
    feature_dim: int | None = None  # of the features that training distils into the semantic codes; none: no such term
    quantized_share: float = 0.5  # of the items in training; the decoder hears the latent itself for the others

    def __post_init__(self):
        if not self.seanet.causal:
            raise ValueError("Mimi is causal: its seanet.causal must be True")
        if self.transformer.dim != self.latent_dim:
            raise ValueError(f"transformer.dim ({self.transformer.dim}) must be latent_dim ({self.latent_dim})")
        if self.latent_dim % self.upsample_groups:
            raise ValueError(f"upsample_groups ({self.upsample_groups}) must divide latent_dim ({self.latent_dim})")
        if not 0 <= self.quantized_share <= 1:
            raise ValueError(f"quantized_share must be 0 to 1, got {self.quantized_share}")

    @property
    def hop_length(self) -> int:
        return self.seanet.hop_length * self.stride


@dataclass(frozen=True)
class MimiOutput:
    """Reconstruction and what a training step needs beside it."""

    waveform: Float[Tensor, "B C L"]
    codes: Int[Tensor, "B K T"]
    commitment: Float[Tensor, ""]
    perplexity: Float[Tensor, " K"]
    semantic: Float[Tensor, "B V T"]


class Mimi(Codec):
    few_rows = True  # of its transformers: 12.5 a second (`nexus.nn.prepack`)

    def __init__(self, config: MimiConfig):
        super().__init__()
        self.config = config
        dim, stride = config.latent_dim, config.stride
        self.encoder = Coder(encoder_layers(config.seanet, config.channels, dim))
        self.encoder_transformer = SlidingTransformer(config.transformer)
        self.downsample = Conv1d(dim, dim, 2 * stride, stride=stride, bias=False, causal=True, pad_mode="replicate")
        self.quantizer = SplitQuantizer(config.quantizer, config.n_semantic, dim)
        groups = config.upsample_groups
        self.upsample = ConvTranspose1d(dim, dim, 2 * stride, stride=stride, groups=groups, bias=False, causal=True)
        self.decoder_transformer = SlidingTransformer(config.transformer)
        self.decoder = Coder(decoder_layers(config.seanet, config.channels, dim))
        if config.feature_dim is not None:
            self.to_features = nn.Linear(config.quantizer.dim, config.feature_dim)
        for module in [*self.encoder.modules(), *self.decoder.modules()]:
            if isinstance(module, Conv1d | ConvTranspose1d):
                keep_variance(module.conv)  # type: ignore[arg-type]

    @property
    def latency(self) -> float:
        """Seconds of sound that a stream needs before the first frame is coded and heard: one frame, no look-ahead."""
        return self.hop_length / self.sample_rate

    @property
    def encoder_stages(self) -> nn.ModuleList:
        """Waveform to latent, in turn."""
        return nn.ModuleList([*self.encoder.layers, self.encoder_transformer, self.downsample])

    @property
    def decoder_stages(self) -> nn.ModuleList:
        return nn.ModuleList([self.upsample, self.decoder_transformer, *self.decoder.layers])

    def forward(
        self,
        waveform: Float[Tensor, "B C L"],
        n_codebooks: int | None = None,
        generator: torch.Generator | None = None,
        quantized_share: float = 1.0,
    ) -> MimiOutput:
        """Reconstructs; gradients pass the quantiser straight through. In training mode the codebooks learn.

        Args:
            quantized_share: of the items; the others reach the decoder as they left the encoder.
        """
        self.check_waveform(waveform)
        latent = self.latent(waveform)
        quantized = self.quantizer(latent, n_codebooks, generator)
        chosen = torch.rand(len(latent), 1, 1, generator=generator).to(latent.device) < quantized_share
        heard = self.sound(torch.where(chosen, quantized.vectors, latent))[..., : waveform.shape[-1]]
        return MimiOutput(heard, quantized.codes, quantized.commitment, quantized.perplexity, quantized.semantic)

    def latent(self, waveform: Float[Tensor, "B C L"]) -> Float[Tensor, "B D T"]:
        """What is quantised."""
        return run(self.encoder_stages, self._whole_frames(waveform))

    def sound(self, latent: Float[Tensor, "B D T"]) -> Float[Tensor, "B C L"]:
        """The waveform of a latent, quantised or not."""
        return run(self.decoder_stages, latent)

    def loss(self, batch: dict[str, Tensor], generator: torch.Generator | None = None) -> dict[str, Tensor]:
        """Multi-scale mel distance, commitment and semantic distillation, at a random number of codebooks.

        batch["waveform"] is [B, C, L]; batch["features"] [B, M, T], where the config has a `feature_dim`, is what a
        model of speech says of each frame.
        """
        n_frames = -(-batch["waveform"].shape[-1] // self.hop_length)
        if self.config.feature_dim is not None and batch["features"].shape[-1] != n_frames:
            raise ValueError(f"features must have {n_frames} frames, as the codes, got {batch['features'].shape[-1]}")
        result = self(batch["waveform"], self.random_depth(generator), generator, self.config.quantized_share)
        terms = {
            "mel": mel_distance(result.waveform, batch["waveform"], self.sample_rate),
            "commitment": result.commitment,
        }
        if self.config.feature_dim is not None:
            terms["semantic"] = self.semantic_distance(result.semantic, batch["features"])
        perplexity = {"perplexity": result.perplexity.mean()}
        return {"loss": torch.stack(list(terms.values())).sum()} | {
            k: v.detach() for k, v in (terms | perplexity).items()
        }

    def random_depth(self, generator: torch.Generator | None = None) -> int:
        """Quantiser dropout: from the semantic codebooks alone to all."""
        return int(torch.randint(self.config.n_semantic, self.n_codebooks + 1, (), generator=generator))

    def semantic_distance(
        self, semantic: Float[Tensor, "B V T"], features: Float[Tensor, "B M T"]
    ) -> Float[Tensor, ""]:
        """Mean of 1 - cos between the features and what a linear layer makes of the semantic codes (section 3.3)."""
        return 1 - F.cosine_similarity(self.to_features(semantic.mT), features.mT, dim=-1).mean()

    @torch.inference_mode()
    def encode(
        self,
        waveform: Float[Tensor, "B C L"],
        n_codebooks: int | None = None,
        lengths: Int[Tensor, " B"] | None = None,
    ) -> Int[Tensor, "B K T"]:
        """Codes of ceil(L / hop) frames.

        Args:
            lengths: samples of each item that are real; the rest is taken for silence, and so are the samples that
                its last frame lacks. An item's frames, `frame_lengths(lengths)` of them, are those of it alone.
        """
        self.check_waveform(waveform)
        if lengths is not None:
            waveform = self._lengthened(self._silenced(waveform, lengths))
        chunks = waveform.split(CHUNK_FRAMES * self.hop_length, dim=-1)
        with self.streaming() as s:
            codes = [s.encode(x, n_codebooks=n_codebooks, last=i == len(chunks) - 1) for i, x in enumerate(chunks)]
        return torch.cat(codes, dim=-1)

    @torch.inference_mode()
    def decode(
        self,
        codes: Int[Tensor, "B K T"],
        length: int | None = None,
        lengths: Int[Tensor, " B"] | None = None,
    ) -> Float[Tensor, "B C L"]:
        """Waveform of T hop samples, or cut to `length`; zeros past each item's own of `lengths`.

        Any number of codebooks up to all, the semantic ones at least.
        """
        if codes.shape[-1] == 0:
            return torch.zeros(codes.shape[0], self.config.channels, 0, device=codes.device)
        chunks = codes.split(CHUNK_FRAMES, dim=-1)
        with self.streaming() as s:
            parts = [s.decode(part, last=i == len(chunks) - 1) for i, part in enumerate(chunks)]
        waveform = torch.cat(parts, dim=-1)[..., :length]
        return waveform if lengths is None else self._silenced(waveform, lengths)

    def frame_lengths(self, lengths: Int[Tensor, " B"]) -> Int[Tensor, " B"]:
        """Frames of so many samples."""
        return -(-lengths // self.hop_length)

    @contextmanager
    def streaming(self) -> Iterator["MimiStream"]:
        """`with codec.streaming() as s: s.encode(chunk) ... s.decode(codes) ...`: chunks together equal the whole.

        Every whole frame is answered at once, in both directions. A batch holds as many streams, in step. Pass
        `last=True` with the last chunk.
        """
        with torch.inference_mode():
            yield MimiStream(self)

    def save(self, folder: str | Path, dtype: torch.dtype | None = None) -> None:
        save_folder(self, folder, kind="mimi", config=self.config, dtype=dtype)

    def _whole_frames(self, waveform: Tensor) -> Tensor:
        return self._lengthened(waveform) if self.config.silence_to_whole_frames else waveform

    def _lengthened(self, waveform: Tensor) -> Tensor:
        return F.pad(waveform, (0, -waveform.shape[-1] % self.hop_length))

    def _silenced(self, waveform: Tensor, lengths: Tensor) -> Tensor:
        n, longest = len(waveform), waveform.shape[-1]
        if lengths.shape != (n,) or not 1 <= int(lengths.min()) <= int(lengths.max()) <= longest:
            raise ValueError(f"lengths must be {n} numbers of samples, 1 to {longest} each, got {lengths.tolist()}")
        places = torch.arange(longest, device=waveform.device)
        return waveform.masked_fill(places >= lengths.to(waveform.device)[:, None, None], 0.0)


class MimiStream:
    """Encodes and decodes chunk by chunk; the two directions are independent."""

    def __init__(self, codec: Mimi):
        self.codec = codec
        self.encoder_stages, self.decoder_stages = codec.encoder_stages, codec.decoder_stages
        self.encoder_states: list[Any] | None = None
        self.decoder_states: list[Any] | None = None
        self.seen = 0  # samples

    def encode(
        self, chunk: Float[Tensor, "B C L"], *, n_codebooks: int | None = None, last: bool = False
    ) -> Int[Tensor, "B K T"]:
        """Codes of the frames that are complete with this chunk, of any length; maybe none yet."""
        self.codec.check_samples(chunk)
        self.seen += chunk.shape[-1]
        if last and self.codec.config.silence_to_whole_frames:
            chunk = F.pad(chunk, (0, -self.seen % self.codec.hop_length))
        latent, self.encoder_states = stream(self.encoder_stages, chunk, self.encoder_states, last)
        return self.codec.quantizer.encode(latent, n_codebooks)

    def decode(self, codes: Int[Tensor, "B K T"], *, last: bool = False) -> Float[Tensor, "B C L"]:
        """The samples of these frames, of which there may be any number."""
        latent = self.codec.quantizer.decode(codes)
        waveform, self.decoder_states = stream(self.decoder_stages, latent, self.decoder_states, last)
        return waveform
