"""HiFi-GAN (arXiv:2010.05646): a vocoder that upsamples mel frames, taught by discriminators over periods and scales.

Official weights (MIT): the authors' `generator_v1`, `g_02500000` and their like; `microsoft/speecht5_hifigan`.
Axes: B batch, M mel bins, T frames, L waveform samples.
"""

from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn

from nexus.codecs.upsampler import UpsamplerConfig, UpsamplingVocoder, upsampler
from nexus.media.features import MelConfig
from nexus.nn.chain import Chain
from nexus.nn.checkpoint import save_folder
from nexus.nn.conv import Conv1d

SLOPE, LAST_SLOPE = 0.1, 0.01  # of the leaky ReLUs: all, and the one before the last convolution


@dataclass(frozen=True, kw_only=True)
class HiFiGANConfig:
    mel: MelConfig = field(default_factory=MelConfig.hifigan)
    upsampler: UpsamplerConfig = field(default_factory=UpsamplerConfig)
    standardised: bool = False  # mel bins are shifted and scaled first, as SpeechT5's

    def __post_init__(self):
        if self.mel.hop_length != self.upsampler.hop_length:
            raise ValueError(
                f"the ratios {self.upsampler.ratios} make {self.upsampler.hop_length} samples of a frame, "
                f"but the mel's hop_length is {self.mel.hop_length}"
            )

    @staticmethod
    def v1() -> "HiFiGANConfig":
        """22.05 kHz, 13.9 M parameters."""
        return HiFiGANConfig()

    @staticmethod
    def v2() -> "HiFiGANConfig":
        """v1 with a quarter of its width, 0.93 M parameters."""
        return HiFiGANConfig(upsampler=UpsamplerConfig(dim=128))

    @staticmethod
    def v3() -> "HiFiGANConfig":
        """Fewer layers in blocks of another kind, 1.46 M parameters."""
        return HiFiGANConfig(
            upsampler=UpsamplerConfig(
                dim=256,
                ratios=(8, 8, 4),
                kernel_sizes=(16, 16, 8),
                block_kernel_sizes=(3, 5, 7),
                dilations=((1, 2), (2, 6), (3, 12)),
                paired=False,
            )
        )

    @staticmethod
    def speecht5() -> "HiFiGANConfig":
        """16 kHz, from SpeechT5's mel frames in decimal logarithms."""
        return HiFiGANConfig(
            mel=MelConfig.speecht5(),
            upsampler=UpsamplerConfig(ratios=(4, 4, 4, 4), kernel_sizes=(8, 8, 8, 8)),
            standardised=True,
        )


class Standardise(nn.Module):
    """Every mel bin less its mean, in its own scale."""

    mean: Tensor
    scale: Tensor

    def __init__(self, n_mels: int):
        super().__init__()
        self.register_buffer("mean", torch.zeros(n_mels))
        self.register_buffer("scale", torch.ones(n_mels))

    def forward(self, mel: Float[Tensor, "B M T"]) -> Float[Tensor, "B M T"]:
        return (mel - self.mean[:, None]) / self.scale[:, None]


def leaky_relu(dim: int) -> nn.Module:
    return nn.LeakyReLU(SLOPE)


class HiFiGAN(UpsamplingVocoder):
    def __init__(self, config: HiFiGANConfig):
        last = Conv1d(config.upsampler.last_dim, 1, 7, weight_norm=config.upsampler.weight_norm)
        build = partial(upsampler, config.upsampler, config.mel.n_mels, before=leaky_relu, within=leaky_relu)
        super().__init__(config.mel, build(end=Chain(nn.LeakyReLU(LAST_SLOPE), last, nn.Tanh())))
        self.config = config
        self.standardise = Standardise(config.mel.n_mels) if config.standardised else nn.Identity()

    def _checked(self, mel: Tensor) -> Tensor:
        return self.standardise(super()._checked(mel))

    def save(self, folder: str | Path, dtype: torch.dtype | None = None) -> None:
        save_folder(self, folder, kind="hifigan", config=self.config, dtype=dtype)
