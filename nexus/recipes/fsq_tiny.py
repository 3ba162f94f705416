"""A small codec with finite scalar quantisation, as NeMo's (arXiv:2406.05298): 75 frames a second, 6 kb/s at 24 kHz.

No weights come along: this is how to train one. No codebook is learnt and nothing is committed to; the published mel
and STFT distances and, once `adversarial.start` is reached, the published discriminators, which learn every other step.
"""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from nexus.codecs.fsq_codec import FSQCodec, FSQCodecConfig, HalfConfig
from nexus.nn.chain import Chain
from nexus.nn.unit_variance import keep_variance
from nexus.process.adversarial import (
    Discriminators,
    Judgement,
    discriminator_least_squares,
    generator_least_squares,
)
from nexus.process.fsq_judges import fsq_judges
from nexus.process.least_squares import feature_mean, with_logits
from nexus.training.adversarial import AdversarialConfig
from nexus.training.recipe import Batch, LoopConfig, OptimizerConfig
from nexus.training.sounds import SoundRecipe


@dataclass(frozen=True, kw_only=True)
class FSQJudges(AdversarialConfig):
    """The published discriminators, narrower, and least squares as means over them."""

    every: int = 2
    n_ffts: tuple[int, ...] = (2048, 1024, 512)
    weight: float = 1.0
    feature_weight: float = 1.0

    def discriminators(self) -> Discriminators:
        return fsq_judges(self.n_ffts, self.periods, self.n_filters, self.widths)

    def unmask(self, real: Judgement, fake: Judgement) -> Tensor:
        return discriminator_least_squares(real, fake)

    def deceive(self, fake: Judgement) -> Tensor:
        return generator_least_squares(fake)

    def match(self, real: Judgement, fake: Judgement) -> Tensor:
        return feature_mean(with_logits(real), with_logits(fake))


def tiny() -> FSQCodecConfig:
    """The published layers at a sixth of their width; eight codes of 1000 a frame."""
    return FSQCodecConfig(
        sample_rate=24000,
        encoder=HalfConfig(dim=8, ratios=(2, 4, 5, 8), weight_norm=True),
        decoder=HalfConfig(dim=128, ratios=(8, 5, 4, 2), activation="half_snake", last_kernel_size=3, weight_norm=True),
    )


@dataclass(frozen=True, kw_only=True)
class FSQTiny(SoundRecipe[FSQCodec]):
    name: str = "fsq-tiny"
    loop: LoopConfig = LoopConfig(steps=4000, ema_decay=0.998, save_every=100, validate_every=250)
    optimizer: OptimizerConfig = OptimizerConfig(lr=5e-4, betas=(0.8, 0.99), warmup_steps=50, clip_norm=1000.0)
    model: FSQCodecConfig = field(default_factory=tiny)
    batch_size: int = 6
    length: int = 9600  # samples of a crop, 0.4 s
    adversarial: FSQJudges = FSQJudges(start=1500, items=3)

    def build(self) -> FSQCodec:
        """Starts with signals at a size that the levels can tell; by torch's own all sound would have one code."""
        model = FSQCodec(self.model)
        latent = keep_variance(model.encoder, 0.1 * torch.randn(4, 1, self.length))
        keep_variance(Chain(*model.decoder.layers[:-2]), model.quantizer(latent).vectors)
        return model

    def reconstruct(
        self, model: FSQCodec, batch: Batch, generator: torch.Generator
    ) -> tuple[Tensor, dict[str, Tensor]]:
        result = model(batch["waveform"])
        return result.waveform, model.losses(result, batch["waveform"])

    def heard(self, model: FSQCodec, batch: Batch, generator: torch.Generator) -> Tensor:
        return model(batch["waveform"]).waveform


recipe = FSQTiny()
