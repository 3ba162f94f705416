"""BigVGAN (arXiv:2206.04658): HiFi-GAN at scale, with periodic activations that make no aliases.

Official weights (MIT): `nvidia/bigvgan_24khz_100band`, `nvidia/bigvgan_v2_24khz_100band_256x`,
`nvidia/bigvgan_v2_44khz_128band_512x` and their siblings.
Axes: B batch, M mel bins, T frames, L waveform samples.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import torch
from torch import nn

from nexus.codecs.upsampler import UpsamplerConfig, UpsamplingVocoder, upsampler
from nexus.media.features import MelConfig
from nexus.nn.alias_free import AliasFree
from nexus.nn.chain import Chain
from nexus.nn.checkpoint import save_folder
from nexus.nn.conv import Conv1d
from nexus.nn.snake import Snake, SnakeBeta

ACTIVATIONS = {"snake": Snake, "snakebeta": SnakeBeta}
BOUNDS = {"tanh": nn.Tanh, "clamp": nn.Hardtanh}


def _large(*ratios: int) -> UpsamplerConfig:
    return UpsamplerConfig(dim=1536, ratios=ratios, kernel_sizes=tuple(2 * ratio for ratio in ratios))


@dataclass(frozen=True, kw_only=True)
class BigVGANConfig:
    mel: MelConfig = field(default_factory=lambda: _mel(24000, 1024, 256, 100))
    upsampler: UpsamplerConfig = field(default_factory=lambda: _large(4, 4, 2, 2, 2, 2))
    activation: Literal["snake", "snakebeta"] = "snakebeta"
    bound: Literal["tanh", "clamp"] = "clamp"  # how the waveform is held to [-1, 1]
    last_bias: bool = False  # of the last convolution

    def __post_init__(self):
        if self.mel.hop_length != self.upsampler.hop_length:
            raise ValueError(
                f"the ratios {self.upsampler.ratios} make {self.upsampler.hop_length} samples of a frame, "
                f"but the mel's hop_length is {self.mel.hop_length}"
            )
        if self.activation not in ACTIVATIONS or self.bound not in BOUNDS:
            raise ValueError(
                f"activation is one of {', '.join(ACTIVATIONS)} and bound one of {', '.join(BOUNDS)}, "
                f"got {self.activation!r} and {self.bound!r}"
            )

    @staticmethod
    def v1_24khz() -> "BigVGANConfig":
        """`nvidia/bigvgan_24khz_100band`, 112 M parameters."""
        return BigVGANConfig(mel=_mel(24000, 1024, 256, 100, 12000.0), bound="tanh", last_bias=True)

    @staticmethod
    def v1_base_24khz() -> "BigVGANConfig":
        """`nvidia/bigvgan_base_24khz_100band`, 14 M parameters."""
        ratios = UpsamplerConfig(dim=512, ratios=(8, 8, 2, 2), kernel_sizes=(16, 16, 4, 4))
        return BigVGANConfig(mel=_mel(24000, 1024, 256, 100, 12000.0), upsampler=ratios, bound="tanh", last_bias=True)

    @staticmethod
    def v2_24khz() -> "BigVGANConfig":
        """`nvidia/bigvgan_v2_24khz_100band_256x`."""
        return BigVGANConfig()

    @staticmethod
    def v2_44khz() -> "BigVGANConfig":
        """`nvidia/bigvgan_v2_44khz_128band_512x`, 122 M parameters."""
        return BigVGANConfig(mel=_mel(44100, 2048, 512, 128), upsampler=_large(8, 4, 2, 2, 2, 2))


def _mel(sample_rate: int, n_fft: int, hop_length: int, n_mels: int, f_max: float | None = None) -> MelConfig:
    return MelConfig.hifigan(sample_rate, n_fft, hop_length, win_length=n_fft, n_mels=n_mels, f_max=f_max)


class BigVGAN(UpsamplingVocoder):
    def __init__(self, config: BigVGANConfig):
        def activation(dim: int) -> nn.Module:
            return AliasFree(ACTIVATIONS[config.activation](dim))

        dim, norm = config.upsampler.last_dim, config.upsampler.weight_norm
        last = Conv1d(dim, 1, 7, bias=config.last_bias, weight_norm=norm)
        end = Chain(activation(dim), last, BOUNDS[config.bound]())
        before = nn.Identity  # the transposed convolutions follow upon residual sums as they are
        super().__init__(
            config.mel, upsampler(config.upsampler, config.mel.n_mels, before=before, within=activation, end=end)
        )
        self.config = config

    def save(self, folder: str | Path, dtype: torch.dtype | None = None) -> None:
        save_folder(self, folder, kind="bigvgan", config=self.config, dtype=dtype)
