"""A vocoder of spectra: log-mel frames to log-magnitudes, and a search for the phases that fit them.

Tacotron's way from mel frames to sound (arXiv:1703.10135, section 3.3), with ConvNeXt blocks for the way to linear
magnitudes. It is a regression at frame rate, learnt in minutes without discriminators, for the little choice of phase
that magnitudes leave (`nexus.nn.phase_search`) needs no learning.
Axes: B batch, M mel bins, F frequency bins, T frames, L = (T - 1) hop waveform samples.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from nexus.codecs.spectral_codec import FLOOR, BlocksConfig, FrameNetwork, Magnitudes
from nexus.media.features import MelConfig, log_mel, stft
from nexus.nn.chain import Chain
from nexus.nn.checkpoint import save_folder
from nexus.nn.phase_search import PhaseSearch, check_windows
from nexus.process.spectral import magnitude_distances


@dataclass(frozen=True, kw_only=True)
class SpectralVocoderConfig:
    """Mel frames are F5-TTS's and Vocos's: centred Hann windows, natural logarithms of mel magnitudes."""

    sample_rate: int = 24000
    n_fft: int = 1024
    hop_length: int = 256
    n_features: int = 100
    blocks: BlocksConfig = field(default_factory=lambda: BlocksConfig(in_dim=100, n_layers=6))
    n_iterations: int = 32  # of the search for phases

    def __post_init__(self):
        check_windows(self.n_fft, self.hop_length)

    @property
    def mel(self) -> MelConfig:
        """The features that the vocoder takes."""
        return MelConfig(
            sample_rate=self.sample_rate,
            n_fft=self.n_fft,
            hop_length=self.hop_length,
            win_length=self.n_fft,
            n_mels=self.n_features,
            padding="center",
        )


class SpectralVocoder(nn.Module):
    def __init__(self, config: SpectralVocoderConfig):
        super().__init__()
        self.config = config
        network = FrameNetwork(config.blocks, config.n_features, config.n_fft // 2 + 1)
        search = PhaseSearch(config.n_fft, config.hop_length, config.n_iterations)
        self.decoder = Chain(network, Magnitudes(), search)
        self.look_ahead = network.look_ahead + search.look_ahead  # frames that a stream waits for

    @property
    def sample_rate(self) -> int:
        return self.config.sample_rate

    @property
    def hop_length(self) -> int:
        return self.config.hop_length

    @property
    def frame_rate(self) -> float:
        return self.config.sample_rate / self.config.hop_length

    def features(self, waveform: Float[Tensor, "B 1 L"]) -> Float[Tensor, "B M T"]:
        """The log-mel frames that `decode` takes."""
        return log_mel(waveform[:, 0], self.config.mel)

    def forward(self, features: Float[Tensor, "B M T"]) -> Float[Tensor, "B F T"]:
        """Natural logarithms of magnitudes, which is what is learnt."""
        self._check(features)
        return self.decoder.layers[0](features)

    @torch.inference_mode()
    def decode(self, features: Float[Tensor, "B M T"]) -> Float[Tensor, "B 1 L"]:
        """Waveform of (T - 1) hop samples, as centred windows have.

        Raises:
            ValueError: another number of mel bins.
        """
        self._check(features)
        if not features.shape[2]:
            return features.new_zeros(len(features), 1, 0)
        half = self.hop_length // 2  # the search has its frames in the middle of hops, centred windows at their start
        return self.decoder(features)[..., half:-half].to(features.dtype)

    @contextmanager
    def streaming(self) -> Iterator["SpectralVocoderStream"]:
        """`with vocoder.streaming() as s: s.decode(chunk) ...`: chunks together equal the whole.

        The output stays `look_ahead` frames behind; pass `last=True` with the last chunk.
        """
        with torch.inference_mode():
            yield SpectralVocoderStream(self)

    def loss(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Distances of log-magnitudes (`magnitude_distances`) in copy synthesis; batch["waveform"] is [B, 1, L]."""
        waveform, config = batch["waveform"][:, 0], self.config
        with torch.no_grad():
            target = stft(waveform, config.n_fft, config.hop_length, config.n_fft, config.n_fft // 2).abs()
            features = self.features(batch["waveform"])
        target = target.clamp(min=FLOOR).log()[..., : features.shape[2]]
        distances = magnitude_distances(self(features), target, self.sample_rate, FLOOR, config.n_features)
        return {"loss": torch.stack(list(distances.values())).sum()} | {k: d.detach() for k, d in distances.items()}

    def save(self, folder: str | Path, dtype: torch.dtype | None = None) -> None:
        save_folder(self, folder, kind="spectral-vocoder", config=self.config, dtype=dtype)

    def _check(self, features: Tensor) -> None:
        if features.shape[1] != self.config.n_features:
            raise ValueError(f"this vocoder takes {self.config.n_features} mel bins, got {features.shape[1]}")


class SpectralVocoderStream:
    """Decodes mel frames chunk by chunk."""

    def __init__(self, vocoder: SpectralVocoder):
        self.vocoder, self.begun = vocoder, False
        self.state: Any = None

    def decode(self, features: Float[Tensor, "B M T"], *, last: bool = False) -> Float[Tensor, "B 1 L"]:
        self.vocoder._check(features)
        waveform, self.state = self.vocoder.decoder.stream(features, self.state, last)
        half = self.vocoder.hop_length // 2
        if not self.begun and waveform.shape[2]:
            waveform, self.begun = waveform[..., half:], True
        return waveform[..., :-half] if last else waveform
