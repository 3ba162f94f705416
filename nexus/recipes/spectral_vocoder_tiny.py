"""`nexus/spectral-vocoder-tiny`: mel frames of 24 kHz speech to sound.

It learns magnitudes alone, from blocks that start as those of `nexus/vocos-tiny`; phases are searched for. What moved
it: true magnitudes with phases searched from nothing have DNSMOS 3.26 (the recordings 3.30), so nothing is lost by not
learning phases, while those of `nexus/vocos-tiny` have 1.7 when searched so: it had learnt neither well.
"""

from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from nexus.codecs.spectral_vocoder import SpectralVocoder, SpectralVocoderConfig
from nexus.hub.load import load
from nexus.recipes.spectral_tiny import start_from_vocoder
from nexus.training.recipe import Batch, LoopConfig, Networks, Objective, OptimizerConfig
from nexus.training.sounds import CropRecipe


@dataclass(frozen=True, kw_only=True)
class SpectralVocoderTiny(CropRecipe[SpectralVocoder]):
    name: str = "spectral-vocoder-tiny"
    loop: LoopConfig = LoopConfig(steps=6000, precision="auto", ema_decay=0.998, save_every=250, validate_every=500)
    optimizer: OptimizerConfig = OptimizerConfig(lr=1e-3, betas=(0.9, 0.95), warmup_steps=100, clip_norm=5.0)
    model: SpectralVocoderConfig = field(default_factory=SpectralVocoderConfig)
    sources: tuple[str, ...] = ("speech",)
    batch_size: int = 16
    length: int = 16384  # samples of a crop
    start: str = "nexus/vocos-tiny"  # whose blocks it starts from

    def build(self) -> SpectralVocoder:
        vocoder = SpectralVocoder(self.model)
        network = vocoder.decoder.layers[0]
        with torch.no_grad():
            start_from_vocoder(network, load(self.start, device="cpu").state_dict(), self.start)
            nn.init.eye_(network.project.weight)  # type: ignore[arg-type]
            nn.init.zeros_(network.project.bias)  # type: ignore[arg-type]
        return vocoder

    def objectives(self, networks: Networks) -> tuple[Objective, ...]:
        return (Objective("model", ("model",), self.loss, self.optimizer),)

    def loss(self, networks: Networks, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        model = networks["model"]
        assert isinstance(model, SpectralVocoder)
        return model.loss(batch)

    def again(self, model: SpectralVocoder, waveform: Tensor) -> Tensor:
        return model.decode(model.features(waveform))

    def export(self, model: nn.Module, folder: Path) -> None:
        assert isinstance(model, SpectralVocoder)
        model.save(folder, dtype=torch.int8)


recipe = SpectralVocoderTiny()
