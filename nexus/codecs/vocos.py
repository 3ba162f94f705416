"""Vocos (arXiv:2306.00814): a vocoder that stays at frame rate and leaves the waveform to one inverse STFT.

ConvNeXt blocks over mel frames (or over EnCodec's codes) give the log-magnitude and phase of every frame.
Official weights: `charactr/vocos-mel-24khz`, `charactr/vocos-encodec-24khz`, MIT.
Axes: B batch, C feature channels (M mel bins), T frames, D width, K codebooks, L waveform samples.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from nexus.media.features import MelConfig, log_mel
from nexus.nn.checkpoint import save_folder
from nexus.nn.convnext import ConvNeXt
from nexus.nn.spectrum import InverseSTFT
from nexus.process.spectral import mel_distance


@dataclass(frozen=True, kw_only=True)
class CodesConfig:
    """Input from the codes of EnCodec instead of mel frames; norms depend on the bandwidth."""

    n_codebooks: int = 16
    codebook_size: int = 1024
    bandwidths: tuple[float, ...] = (1.5, 3.0, 6.0, 12.0)  # kbps, by bandwidth id


@dataclass(frozen=True, kw_only=True)
class VocosConfig:
    sample_rate: int = 24000
    n_fft: int = 1024
    hop_length: int = 256
    n_features: int = 100  # mel bins, or width of the codebooks
    padding: Literal["center", "same"] = "center"
    dim: int = 512
    hidden_dim: int = 1536
    n_layers: int = 8
    codes: CodesConfig | None = None

    def __post_init__(self):
        if self.n_fft % 2 or self.hop_length > self.n_fft // 2:
            raise ValueError(
                f"n_fft must be even and at least twice hop_length, got {self.n_fft} and {self.hop_length}"
            )
        if self.padding not in ("center", "same"):
            raise ValueError(f"padding must be 'center' or 'same', got {self.padding!r}")

    @staticmethod
    def mel_24khz() -> "VocosConfig":
        return VocosConfig()

    @staticmethod
    def encodec_24khz() -> "VocosConfig":
        return VocosConfig(
            n_fft=1280, hop_length=320, n_features=128, padding="same", dim=384, hidden_dim=1152, codes=CodesConfig()
        )

    @property
    def mel(self) -> MelConfig:
        """The features that a mel vocoder takes."""
        return MelConfig(
            sample_rate=self.sample_rate,
            n_fft=self.n_fft,
            hop_length=self.hop_length,
            win_length=self.n_fft,
            n_mels=self.n_features,
            padding=self.padding,
        )


class Vocos(ConvNeXt):
    def __init__(self, config: VocosConfig):
        n_conditions = len(config.codes.bandwidths) if config.codes else None
        super().__init__(config.n_features, config.dim, config.hidden_dim, config.n_layers, n_conditions)
        self.config = config
        if config.codes:
            shape = (config.codes.n_codebooks, config.codes.codebook_size, config.n_features)
            self.codebooks = nn.Parameter(torch.randn(shape))
        self.head = nn.Linear(config.dim, config.n_fft + 2)
        nn.init.trunc_normal_(self.head.weight, std=0.02)
        nn.init.zeros_(self.head.bias)
        self.inverse = InverseSTFT(config.n_fft, config.hop_length, config.padding)

    @property
    def sample_rate(self) -> int:
        return self.config.sample_rate

    @property
    def hop_length(self) -> int:
        return self.config.hop_length

    @property
    def frame_rate(self) -> float:
        return self.config.sample_rate / self.config.hop_length

    @property
    def look_ahead(self) -> int:
        """Frames that a stream waits for before it gives the samples of a frame."""
        return 3 * (self.config.n_layers + 1) + -(-self.inverse.cut // self.hop_length)

    def features(self, waveform: Float[Tensor, "B 1 L"]) -> Float[Tensor, "B M T"]:
        """The log-mel frames that `decode` takes."""
        if self.config.codes:
            raise ValueError("this vocoder takes the codes of EnCodec, not mel features: use decode_codes")
        return log_mel(waveform[:, 0], self.config.mel)

    def forward(
        self, features: Float[Tensor, "B C T"], bandwidth_id: Int[Tensor, " B"] | None = None
    ) -> Float[Tensor, "B 1 L"]:
        self._check(features.shape[1], bandwidth_id)
        return self.inverse(self._spectrum(self.hidden(features, bandwidth_id)))[:, None]

    def _check(self, n_features: int, bandwidth_id: Tensor | None) -> None:
        if n_features != self.config.n_features:
            raise ValueError(f"this vocoder takes {self.config.n_features} feature channels, got {n_features}")
        if (bandwidth_id is None) == (self.config.codes is not None):
            raise ValueError(
                "a vocoder of codes needs a bandwidth_id" if self.config.codes else "a mel vocoder has no bandwidth_id"
            )

    def _spectrum(self, x: Tensor) -> Tensor:
        """Complex spectrogram [B, F, T] of the backbone's output [B, D, T]."""
        log_magnitude, phase = self.head(x.mT).float().mT.chunk(2, dim=1)
        magnitude = log_magnitude.exp().clamp(max=1e2)
        return torch.complex(magnitude * phase.cos(), magnitude * phase.sin())

    @torch.inference_mode()
    def decode(
        self, features: Float[Tensor, "B C T"], bandwidth_id: Int[Tensor, " B"] | None = None
    ) -> Float[Tensor, "B 1 L"]:
        """Waveform of feature frames: (T - 1) hop samples with padding "center", T hop with "same"."""
        return self(features, bandwidth_id)

    @torch.inference_mode()
    def decode_codes(self, codes: Int[Tensor, "B K T"], bandwidth: float | None = None) -> Float[Tensor, "B 1 L"]:
        """Waveform of EnCodec's codes.

        Args:
            bandwidth: kbps that the codes were made at; by default from the number of codebooks.
        """
        bandwidth_id = self._bandwidth_id(codes, bandwidth)
        return self(self._embed_codes(codes), bandwidth_id)

    def _bandwidth_id(self, codes: Tensor, bandwidth: float | None) -> Tensor:
        settings = self.config.codes
        if settings is None:
            raise ValueError("this vocoder takes mel features, not codes: use decode")
        if codes.shape[1] > settings.n_codebooks:
            raise ValueError(f"at most {settings.n_codebooks} codebooks are known, got {codes.shape[1]}")
        per_codebook = settings.bandwidths[-1] / settings.n_codebooks
        bandwidth = codes.shape[1] * per_codebook if bandwidth is None else bandwidth
        if bandwidth not in settings.bandwidths:
            allowed = ", ".join(f"{b:g} ({round(b / per_codebook)} codebooks)" for b in settings.bandwidths)
            raise ValueError(f"bandwidth must be one of {allowed} kbps, got {bandwidth:g}")
        return torch.full((codes.shape[0],), settings.bandwidths.index(bandwidth), device=codes.device)

    def _embed_codes(self, codes: Tensor) -> Tensor:
        rows = [F.embedding(codes[:, k], self.codebooks[k]) for k in range(codes.shape[1])]
        return torch.stack(rows).sum(0).mT  # [B, C, T]

    def loss(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Multi-scale mel distance of copy synthesis; batch["waveform"] is [B, 1, L]."""
        waveform = batch["waveform"]
        output = self(self.features(waveform))
        distance = mel_distance(output, waveform[..., : output.shape[-1]], self.sample_rate)
        return {"loss": distance, "mel": distance.detach()}

    def stream(
        self,
        features: Float[Tensor, "B C T"],
        state: dict[Any, Any] | None,
        last: bool = False,
        bandwidth_id: Int[Tensor, " B"] | None = None,
    ) -> tuple[Float[Tensor, "B 1 L"], dict[Any, Any]]:
        """Samples that no later frame changes; `last` gives the rest. No state: the start."""
        self._check(features.shape[1], bandwidth_id)
        inverse = state["inverse"] if state else None
        x, state = self.stream_hidden(features, state, last, bandwidth_id)
        waveform, state["inverse"] = self.inverse.stream(self._spectrum(x), inverse, last)
        return waveform[:, None], state

    @contextmanager
    def streaming(self, bandwidth_id: Int[Tensor, " B"] | None = None) -> Iterator["VocosStream"]:
        """`with vocoder.streaming() as s: s.decode(chunk) ...`: chunks together equal the whole.

        The output stays `look_ahead` frames behind; pass `last=True` with the last chunk.
        """
        with torch.inference_mode():
            yield VocosStream(self, bandwidth_id)

    def save(self, folder: str | Path, dtype: torch.dtype | None = None) -> None:
        save_folder(self, folder, kind="vocos", config=self.config, dtype=dtype)


class VocosStream:
    """Decodes feature frames chunk by chunk."""

    def __init__(self, vocoder: Vocos, bandwidth_id: Tensor | None):
        self.vocoder, self.bandwidth_id = vocoder, bandwidth_id
        self.state: dict[Any, Any] | None = None

    def decode(self, features: Float[Tensor, "B C T"], *, last: bool = False) -> Float[Tensor, "B 1 L"]:
        waveform, self.state = self.vocoder.stream(features, self.state, last, self.bandwidth_id)
        return waveform
