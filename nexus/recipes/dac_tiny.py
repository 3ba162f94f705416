"""A small DAC (arXiv:2306.06546): learns to code speech, music and sound at 16 kHz.

No weights come along: this is how to train one. Quantiser dropout for half of the items, reconstruction over seven
mel scales, codebooks trained by gradients, and the paper's discriminators once `adversarial.start` is reached.
"""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from nexus.codecs.dac import Dac, DacConfig
from nexus.process.adversarial import Discriminators
from nexus.process.dac_judges import dac_judges
from nexus.training.adversarial import LeastSquaresConfig
from nexus.training.recipe import Batch, LoopConfig, OptimizerConfig
from nexus.training.sounds import SoundRecipe


@dataclass(frozen=True, kw_only=True)
class DacJudges(LeastSquaresConfig):
    """The paper's discriminators, of STFTs in bands and of periods."""

    def discriminators(self) -> Discriminators:
        return dac_judges(self.n_ffts, self.periods, self.n_filters, self.widths)


def tiny() -> DacConfig:
    return DacConfig(
        sample_rate=16000,
        encoder_dim=16,
        decoder_dim=256,
        latent_dim=128,
        ratios=(2, 4, 5, 8),
        n_codebooks=8,
        codebook_size=256,
        weight_norm=True,
    )


@dataclass(frozen=True, kw_only=True)
class DacTiny(SoundRecipe[Dac]):
    name: str = "dac-tiny"
    loop: LoopConfig = LoopConfig(steps=4000, ema_decay=0.998, save_every=100, validate_every=250)
    optimizer: OptimizerConfig = OptimizerConfig(lr=5e-4, betas=(0.8, 0.99), warmup_steps=50, clip_norm=1000.0)
    model: DacConfig = field(default_factory=tiny)
    batch_size: int = 6
    length: int = 6400  # samples of a crop; the paper's have 0.38 s
    adversarial: DacJudges = DacJudges(start=1500, items=3)

    def build(self) -> Dac:
        return Dac(self.model)

    def reconstruct(self, model: Dac, batch: Batch, generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        result = model(batch["waveform"], generator=generator)
        return result.waveform, model.losses(result, batch["waveform"])

    def heard(self, model: Dac, batch: Batch, generator: torch.Generator) -> Tensor:
        return model(batch["waveform"], generator=generator).waveform


recipe = DacTiny()
