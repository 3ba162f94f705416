"""`nexus/vocos-tiny`: a small Vocos (arXiv:2306.00814) for 24 kHz speech, mel frames in, waveform out.

The first part of training sees only the mel distance; then discriminators over three STFTs and three periods join.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from nexus.codecs.vocos import Vocos, VocosConfig
from nexus.data import waveforms
from nexus.hub.source import find
from nexus.hub.tensors import load_strict, read_tensors
from nexus.media.audio import Audio
from nexus.process.adversarial import Discriminators
from nexus.process.spectral import mel_distance, stft_distance
from nexus.training.adversarial import AdversarialConfig, waiting
from nexus.training.recipe import Batch, BatchStream, LoopConfig, Networks, Objective, OptimizerConfig, Recipe


@dataclass(frozen=True, kw_only=True)
class VocosTiny(Recipe):
    name: str = "vocos-tiny"
    loop: LoopConfig = LoopConfig(steps=4000, precision="bf16", ema_decay=0.998, save_every=250, validate_every=250)
    optimizer: OptimizerConfig = OptimizerConfig(lr=1e-3, betas=(0.8, 0.95), warmup_steps=100, clip_norm=5.0)
    model: VocosConfig = field(default_factory=lambda: VocosConfig(dim=192, hidden_dim=576, n_layers=6))
    sources: tuple[str, ...] = ("speech", "speech", "music", "sound")  # in equal shares of a batch
    corpus: str = "../shared/data/speech"
    cache: str = "runs/cache"
    start: str = ""  # weights to go on from, such as nexus/vocos-tiny; empty: random ones
    batch_size: int = 10
    length: int = 16384  # samples of a crop
    adversarial: AdversarialConfig = field(default_factory=lambda: AdversarialConfig(start=2200))
    stft_weight: float = 0.25

    def networks(self) -> dict[str, nn.Module]:
        model = Vocos(self.model)
        if self.start:
            load_strict(model, read_tensors(find(self.start)), self.start)
        return {"model": model, "discriminators": self.adversarial.discriminators()}

    def objectives(self, networks: Networks) -> tuple[Objective, ...]:
        return (
            Objective("discriminators", ("discriminators",), self.discriminator_loss, self.adversarial.optimizer),
            Objective("model", ("model",), self.model_loss, self.optimizer),
        )

    def discriminator_loss(self, networks: Networks, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        model, judges = networks["model"], networks["discriminators"]
        assert isinstance(model, Vocos) and isinstance(judges, Discriminators)
        if not self.adversarial.joined(batch):
            return waiting()
        waveform = batch["waveform"][: self.adversarial.items]
        with torch.no_grad():
            output = model(model.features(waveform))
        return self.adversarial.discriminator_loss(judges, waveform[..., : output.shape[-1]], output, generator)

    def model_loss(self, networks: Networks, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        model, judges = networks["model"], networks["discriminators"]
        assert isinstance(model, Vocos) and isinstance(judges, Discriminators)
        output = model(model.features(batch["waveform"]))
        waveform = batch["waveform"][..., : output.shape[-1]]
        mel = mel_distance(output, waveform, model.sample_rate, ((2048, 128), (1024, 100), (256, 40)))
        stft = stft_distance(output, waveform, (1024,))
        total, figures = mel + self.stft_weight * stft, {"mel": mel.detach(), "stft": stft.detach()}
        if self.adversarial.joined(batch):
            loss, judged = self.adversarial.generator_loss(judges, waveform, output, generator)
            total, figures = total + loss, figures | judged
        return {"loss": total, **figures}

    def dataset(self, split: Literal["train", "valid"]) -> BatchStream:
        recordings = waveforms.recordings(
            self.sources, split, corpus=self.corpus, cache=self.cache, sample_rate=self.model.sample_rate
        )
        return waveforms.RandomCrops(recordings, length=self.length, batch_size=self.batch_size, seed=self.loop.seed)

    def samples(self, model: nn.Module, step: int) -> dict[str, Audio]:
        assert isinstance(model, Vocos)
        crops = self.dataset("valid")
        assert isinstance(crops, waveforms.RandomCrops)
        waveform = torch.from_numpy(crops.sources[0][: 8 * model.sample_rate] / 32767).float()[None, None]
        output = model.decode(model.features(waveform))
        return {"original": Audio(waveform[0], model.sample_rate), "vocoded": Audio(output[0], model.sample_rate)}

    def export(self, model: nn.Module, folder: Path) -> None:
        assert isinstance(model, Vocos)
        model.save(folder, dtype=torch.float16)


recipe = VocosTiny()
