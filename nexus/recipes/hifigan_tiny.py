"""A small HiFi-GAN (arXiv:2010.05646) for 24 kHz: mel frames in, waveform out, by the paper's losses.

No weights come along: this is how to train one. The mel distance weighs 45; judges over periods and scales, with their
least squares and twice the matching of their features, join once `adversarial.start` is reached.
"""

from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from nexus.codecs.hifigan import HiFiGAN, HiFiGANConfig
from nexus.media.features import MelConfig
from nexus.process.adversarial import Discriminators, Judgement, multi_period
from nexus.process.least_squares import with_logits
from nexus.process.vocoder_judges import multi_scale
from nexus.training.adversarial import LeastSquaresConfig
from nexus.training.recipe import Batch, LoopConfig, OptimizerConfig
from nexus.training.sounds import SoundRecipe


@dataclass(frozen=True, kw_only=True)
class HiFiGANJudges(LeastSquaresConfig):
    """The paper's discriminators, narrower; their logits count among the features."""

    n_scales: int = 2
    scale_width: int = 16
    optimizer: OptimizerConfig = OptimizerConfig(  # the generator's, as published
        lr=5e-4, betas=(0.8, 0.99), warmup_steps=50, clip_norm=1000.0, schedule="constant"
    )

    def discriminators(self) -> Discriminators:
        return Discriminators(*multi_period(self.periods, self.widths), *multi_scale(self.n_scales, self.scale_width))

    def match(self, real: Judgement, fake: Judgement) -> Tensor:
        return super().match(with_logits(real), with_logits(fake))


def tiny() -> HiFiGANConfig:
    """Version 3 at a quarter of its width, 0.1 M parameters."""
    return HiFiGANConfig(
        mel=MelConfig.hifigan(24000, n_mels=100, f_max=None),
        upsampler=replace(HiFiGANConfig.v3().upsampler, dim=64, weight_norm=True),
    )


@dataclass(frozen=True, kw_only=True)
class HiFiGANTiny(SoundRecipe[HiFiGAN]):
    name: str = "hifigan-tiny"
    loop: LoopConfig = LoopConfig(steps=20000, ema_decay=0.998, save_every=500, validate_every=500)
    optimizer: OptimizerConfig = OptimizerConfig(lr=5e-4, betas=(0.8, 0.99), warmup_steps=50, clip_norm=1000.0)
    model: HiFiGANConfig = field(default_factory=tiny)
    sources: tuple[str, ...] = ("speech", "speech", "music", "sound")
    adversarial: HiFiGANJudges = HiFiGANJudges(start=2000)

    @property
    def sample_rate(self) -> int:
        return self.model.mel.sample_rate

    def build(self) -> HiFiGAN:
        return HiFiGAN(self.model)

    def reconstruct(self, model: HiFiGAN, batch: Batch, generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        output = self.heard(model, batch, generator)
        return output, model.losses(output, batch["waveform"][..., : output.shape[-1]])

    def heard(self, model: HiFiGAN, batch: Batch, generator: torch.Generator) -> Tensor:
        return model(model.features(batch["waveform"]))

    def again(self, model: HiFiGAN, waveform: Tensor) -> Tensor:
        return model.decode(model.features(waveform))


recipe = HiFiGANTiny()
