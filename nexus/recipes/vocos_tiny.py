"""`nexus/vocos-tiny`: a small Vocos (arXiv:2306.00814) for 24 kHz speech, mel frames in, waveform out.

The first part of training sees only the mel distance; then discriminators over three STFTs and three periods join.
"""

from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from nexus.codecs.vocos import Vocos, VocosConfig
from nexus.hub.source import find
from nexus.hub.tensors import load_strict, read_tensors
from nexus.process.spectral import mel_distance, stft_distance
from nexus.training.adversarial import AdversarialConfig
from nexus.training.recipe import Batch, LoopConfig, OptimizerConfig
from nexus.training.sounds import SoundRecipe


@dataclass(frozen=True, kw_only=True)
class VocosTiny(SoundRecipe[Vocos]):
    name: str = "vocos-tiny"
    loop: LoopConfig = LoopConfig(steps=4000, precision="auto", ema_decay=0.998, save_every=250, validate_every=250)
    optimizer: OptimizerConfig = OptimizerConfig(lr=1e-3, betas=(0.8, 0.95), warmup_steps=100, clip_norm=5.0)
    model: VocosConfig = field(default_factory=lambda: VocosConfig(dim=192, hidden_dim=576, n_layers=6))
    sources: tuple[str, ...] = ("speech", "speech", "music", "sound")
    start: str = ""  # weights to go on from, such as nexus/vocos-tiny; empty: random ones
    batch_size: int = 10
    length: int = 16384  # samples of a crop
    adversarial: AdversarialConfig = AdversarialConfig(start=2200)
    stft_weight: float = 0.25

    def build(self) -> Vocos:
        model = Vocos(self.model)
        if self.start:
            load_strict(model, read_tensors(find(self.start)), self.start)
        return model

    def reconstruct(self, model: Vocos, batch: Batch, generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        output = self.heard(model, batch, generator)
        waveform = batch["waveform"][..., : output.shape[-1]]
        mel = mel_distance(output, waveform, model.sample_rate, ((2048, 128), (1024, 100), (256, 40)))
        stft = stft_distance(output, waveform, (1024,))
        return output, {"loss": mel + self.stft_weight * stft, "mel": mel.detach(), "stft": stft.detach()}

    def heard(self, model: Vocos, batch: Batch, generator: torch.Generator) -> Tensor:
        return model(model.features(batch["waveform"]))

    def again(self, model: Vocos, waveform: Tensor) -> Tensor:
        return model.decode(model.features(waveform))

    def export(self, model: nn.Module, folder: Path) -> None:
        assert isinstance(model, Vocos)
        model.save(folder, dtype=torch.int8)


recipe = VocosTiny()
