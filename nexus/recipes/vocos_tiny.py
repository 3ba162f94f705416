"""`nexus/vocos-tiny`: a small Vocos (arXiv:2306.00814) for 24 kHz speech, mel frames in, waveform out.

The first part of training sees only the mel distance; then discriminators over three STFTs and three periods join.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from nexus.codecs.vocos import Vocos, VocosConfig
from nexus.data.waveforms import RandomCrops, cached, speech
from nexus.media.audio import Audio
from nexus.process import adversarial
from nexus.process.spectral import mel_distance, stft_distance
from nexus.training.recipe import BatchStream, LoopConfig, Networks, Objective, OptimizerConfig, Recipe


@dataclass(frozen=True, kw_only=True)
class VocosTiny(Recipe):
    name: str = "vocos-tiny"
    loop: LoopConfig = LoopConfig(steps=4000, precision="fp32", ema_decay=0.998, save_every=250, validate_every=250)
    optimizer: OptimizerConfig = OptimizerConfig(lr=1e-3, betas=(0.8, 0.95), warmup_steps=100, clip_norm=5.0)
    discriminator_optimizer: OptimizerConfig = OptimizerConfig(lr=5e-4, betas=(0.8, 0.95), clip_norm=5.0)
    model: VocosConfig = field(default_factory=lambda: VocosConfig(dim=192, hidden_dim=576, n_layers=6))
    corpus: str = "../shared/data/speech"
    cache: str = "runs/cache"
    batch_size: int = 10
    length: int = 16384  # samples of a crop
    adversarial_from: int = 2200  # step
    adversarial_batch: int = 8
    adversarial_length: int = 6144  # samples that the discriminators see of a crop
    mel_scales: tuple[int, ...] = (2048, 1024, 256)  # windows; 128, 100 and 40 mel bins
    mel_weight: float = 1.0
    stft_weight: float = 0.25
    adversarial_weight: float = 0.06
    feature_weight: float = 0.12

    def networks(self) -> dict[str, nn.Module]:
        stft = adversarial.STFTDiscriminatorConfig(n_ffts=(1024, 512, 256), n_filters=8)
        judges = adversarial.multi_scale_stft(stft) + adversarial.multi_period((2, 3, 5), (8, 32, 64, 64))
        return {"model": Vocos(self.model), "discriminators": adversarial.Discriminators(*judges)}

    def objectives(self, networks: Networks) -> tuple[Objective, ...]:
        return (
            Objective("discriminators", ("discriminators",), self.discriminator_loss, self.discriminator_optimizer),
            Objective("model", ("model",), self.model_loss, self.optimizer),
        )

    def is_adversarial(self, batch: dict[str, Tensor]) -> bool:
        return int(batch["step"][0]) >= self.adversarial_from

    def excerpt(self, waveform: Tensor, generator: torch.Generator) -> Tensor:
        """The part that discriminators see: they cost more than the vocoder itself."""
        start = int(torch.randint(waveform.shape[-1] - self.adversarial_length + 1, (), generator=generator))
        return waveform[: self.adversarial_batch, :, start : start + self.adversarial_length]

    def discriminator_loss(
        self, networks: Networks, batch: dict[str, Tensor], generator: torch.Generator
    ) -> dict[str, Tensor]:
        model, judges = networks["model"], networks["discriminators"]
        assert isinstance(model, Vocos)
        if not self.is_adversarial(batch):
            return {"loss": torch.zeros((), requires_grad=True)}
        waveform = batch["waveform"][: self.adversarial_batch]
        with torch.no_grad():
            output = model(model.features(waveform))
        pair = torch.cat([waveform[..., : output.shape[-1]], output], dim=1)
        real, fake = self.excerpt(pair, generator).chunk(2, dim=1)
        return {"loss": adversarial.discriminator_hinge(judges(real), judges(fake))}

    def model_loss(self, networks: Networks, batch: dict[str, Tensor], generator: torch.Generator) -> dict[str, Tensor]:
        model, judges = networks["model"], networks["discriminators"]
        assert isinstance(model, Vocos)
        output = model(model.features(batch["waveform"]))
        waveform = batch["waveform"][..., : output.shape[-1]]
        bins = {2048: 128, 1024: 100, 512: 64, 256: 40}
        scales = [(window, bins[window]) for window in self.mel_scales]
        mel, stft = mel_distance(output, waveform, model.sample_rate, scales), stft_distance(output, waveform, (1024,))
        losses = {"mel": mel.detach(), "stft": stft.detach()}
        total = self.mel_weight * mel + self.stft_weight * stft
        if self.is_adversarial(batch):
            real, fake = self.excerpt(torch.cat([waveform, output], dim=1), generator).chunk(2, dim=1)
            with torch.no_grad():
                truth = judges(real)
            judged = judges(fake)
            hinge, matching = adversarial.generator_hinge(judged), adversarial.feature_matching(truth, judged)
            losses |= {"adversarial": hinge.detach(), "features": matching.detach()}
            total = total + self.adversarial_weight * hinge + self.feature_weight * matching
        return {"loss": total, **losses}

    def dataset(self, split: Literal["train", "valid"]) -> BatchStream:
        rate = self.model.sample_rate
        recordings = cached(
            Path(self.cache) / f"speech-{split}-{rate}.npy", lambda: speech(self.corpus, split, rate)
        )
        return RandomCrops([recordings], length=self.length, batch_size=self.batch_size, seed=self.loop.seed)

    def samples(self, model: nn.Module, step: int) -> dict[str, Audio]:
        assert isinstance(model, Vocos)
        crops = self.dataset("valid")
        assert isinstance(crops, RandomCrops)
        waveform = torch.from_numpy(crops.sources[0][: 8 * model.sample_rate] / 32767).float()[None, None]
        output = model.decode(model.features(waveform))
        return {"original": Audio(waveform[0], model.sample_rate), "vocoded": Audio(output[0], model.sample_rate)}

    def export(self, model: nn.Module, folder: Path) -> None:
        assert isinstance(model, Vocos)
        model.save(folder, dtype=torch.float16)


recipe = VocosTiny()
