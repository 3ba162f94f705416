"""A small DAC (arXiv:2306.06546): learns to code speech, music and sound at 16 kHz.

No weights come along: this is how to train one. Quantiser dropout for half of the items, reconstruction over seven
mel scales, codebooks trained by gradients, and the paper's discriminators once `adversarial.start` is reached.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from nexus.codecs.dac import Dac, DacConfig
from nexus.data import waveforms
from nexus.media.audio import Audio
from nexus.process import dac_judges
from nexus.process.adversarial import Discriminators
from nexus.training.adversarial import AdversarialConfig, waiting
from nexus.training.recipe import Batch, BatchStream, LoopConfig, Networks, Objective, OptimizerConfig, Recipe


@dataclass(frozen=True, kw_only=True)
class DacJudges(AdversarialConfig):
    """The paper's discriminators, of STFTs in bands and of periods, and its least squares."""

    weight: float = 1.0  # of the adversarial loss and, twice, of feature matching

    def discriminators(self) -> Discriminators:
        return dac_judges.dac_judges(self.n_ffts, self.periods, self.n_filters, self.widths)

    def discriminator_loss(
        self, judges: Discriminators, real: Tensor, fake: Tensor, generator: torch.Generator
    ) -> dict[str, Tensor]:
        real, fake = self.excerpts(real, fake.detach(), generator)
        return {"loss": dac_judges.judges_loss(judges(real), judges(fake))}

    def generator_loss(
        self, judges: Discriminators, real: Tensor, fake: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, dict[str, Tensor]]:
        real, fake = self.excerpts(real, fake, generator)
        with torch.no_grad():
            truth = judges(real)
        losses = dac_judges.generator_loss(truth, judges(fake))
        return self.weight * losses.pop("loss"), losses


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
class DacTiny(Recipe):
    name: str = "dac-tiny"
    loop: LoopConfig = LoopConfig(steps=4000, ema_decay=0.998, save_every=100, validate_every=250)
    optimizer: OptimizerConfig = OptimizerConfig(lr=5e-4, betas=(0.8, 0.99), warmup_steps=50, clip_norm=1000.0)
    model: DacConfig = field(default_factory=tiny)
    sources: tuple[str, ...] = ("speech", "music", "sound")  # in equal shares of a batch
    corpus: str = "../shared/data/speech"
    cache: str = "runs/cache"
    batch_size: int = 6
    length: int = 6400  # samples of a crop; the paper's have 0.38 s
    adversarial: DacJudges = field(default_factory=lambda: DacJudges(start=1500, items=3))

    def networks(self) -> dict[str, nn.Module]:
        return {"model": Dac(self.model), "discriminators": self.adversarial.discriminators()}

    def objectives(self, networks: Networks) -> tuple[Objective, ...]:
        return (
            Objective("discriminators", ("discriminators",), self.discriminator_loss, self.adversarial.optimizer),
            Objective("model", ("model",), self.model_loss, self.optimizer),
        )

    def discriminator_loss(self, networks: Networks, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        codec, judges = networks["model"], networks["discriminators"]
        assert isinstance(codec, Dac) and isinstance(judges, Discriminators)
        if not self.adversarial.joined(batch):
            return waiting()
        waveform = batch["waveform"][: self.adversarial.items]
        with torch.no_grad():
            output = codec(waveform, generator=generator).waveform
        return self.adversarial.discriminator_loss(judges, waveform, output, generator)

    def model_loss(self, networks: Networks, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        codec, judges, waveform = networks["model"], networks["discriminators"], batch["waveform"]
        assert isinstance(codec, Dac) and isinstance(judges, Discriminators)
        result = codec(waveform, generator=generator)
        losses = codec.losses(result, waveform)
        if self.adversarial.joined(batch):
            loss, judged = self.adversarial.generator_loss(judges, waveform, result.waveform, generator)
            losses |= judged | {"loss": losses["loss"] + loss}
        return losses

    def recordings(self, split: Literal["train", "valid"]) -> list:
        return waveforms.recordings(
            self.sources, split, corpus=self.corpus, cache=self.cache, sample_rate=self.model.sample_rate
        )

    def dataset(self, split: Literal["train", "valid"]) -> BatchStream:
        return waveforms.RandomCrops(
            self.recordings(split), length=self.length, batch_size=self.batch_size, seed=self.loop.seed
        )

    def samples(self, model: nn.Module, step: int) -> dict[str, Audio]:
        assert isinstance(model, Dac)
        heard, rate = {}, model.sample_rate
        for name, recording in zip(self.sources, self.recordings("valid"), strict=True):
            waveform = torch.from_numpy(recording[: 4 * rate] / 32767).float()[None, None]
            output = model.decode(model.encode(waveform), length=waveform.shape[-1])
            heard |= {f"{name}-original": Audio(waveform[0], rate), name: Audio(output[0], rate)}
        return heard

    def export(self, model: nn.Module, folder: Path) -> None:
        assert isinstance(model, Dac)
        model.save(folder, dtype=torch.float16)


recipe = DacTiny()
