"""A small SoundStream (arXiv:2107.03312): learns to code speech and music, and to clean them when told to.

No weights come along: this is how to train one. Quantiser dropout, noise behind half of the sounds, a denoising
switch for half of them, reconstruction over six windows, and the paper's discriminators once `adversarial.start` is
reached.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from nexus.codecs.soundstream import MEL_WEIGHT, SoundStream, SoundStreamConfig
from nexus.data import waveforms
from nexus.data.noisy import NoisyCrops
from nexus.media.audio import Audio
from nexus.nn.quantize import QuantizerConfig
from nexus.process.adversarial import Discriminators
from nexus.process.soundstream_judges import soundstream_judges
from nexus.process.spectral import mel_reconstruction
from nexus.training.adversarial import AdversarialConfig, waiting
from nexus.training.recipe import Batch, BatchStream, LoopConfig, Networks, Objective, OptimizerConfig, Recipe


@dataclass(frozen=True, kw_only=True)
class SoundStreamJudges(AdversarialConfig):
    """The paper's discriminators: one of an STFT, three of the waveform."""

    n_ffts: tuple[int, ...] = (1024,)
    wave_filters: int = 4
    periods: tuple[int, ...] = ()

    def discriminators(self) -> Discriminators:
        return Discriminators(
            *(judge for n_fft in self.n_ffts for judge in soundstream_judges(n_fft, self.n_filters, self.wave_filters))
        )


def tiny() -> SoundStreamConfig:
    return SoundStreamConfig(n_filters=8, quantizer=QuantizerConfig(n_codebooks=8, codebook_size=256, dim=32))


@dataclass(frozen=True, kw_only=True)
class SoundStreamTiny(Recipe):
    name: str = "soundstream-tiny"
    loop: LoopConfig = LoopConfig(steps=2000, ema_decay=0.995, save_every=100, validate_every=250)
    optimizer: OptimizerConfig = OptimizerConfig(lr=1e-3, betas=(0.8, 0.95), warmup_steps=50, clip_norm=5.0)
    model: SoundStreamConfig = field(default_factory=tiny)
    sources: tuple[str, ...] = ("speech", "music")  # in equal shares of a batch
    noise: str = "sound"
    corpus: str = "../shared/data/speech"
    cache: str = "runs/cache"
    batch_size: int = 8
    length: int = 12000  # samples of a crop
    adversarial: SoundStreamJudges = field(default_factory=lambda: SoundStreamJudges(start=1000, items=4))
    mel_weight: float = MEL_WEIGHT
    commitment_weight: float = 1.0

    def networks(self) -> dict[str, nn.Module]:
        return {"model": SoundStream(self.model), "discriminators": self.adversarial.discriminators()}

    def objectives(self, networks: Networks) -> tuple[Objective, ...]:
        return (
            Objective("discriminators", ("discriminators",), self.discriminator_loss, self.adversarial.optimizer),
            Objective("model", ("model",), self.model_loss, self.optimizer),
        )

    def discriminator_loss(self, networks: Networks, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        codec, judges = networks["model"], networks["discriminators"]
        assert isinstance(codec, SoundStream) and isinstance(judges, Discriminators)
        if not self.adversarial.joined(batch):
            return waiting()
        items = slice(self.adversarial.items)
        target, depth = batch["target"][items], int(codec.random_depths(1, generator))
        with torch.no_grad():  # by way of the codes, for the codebooks follow in the model's turn alone
            codes = codec.quantizer.encode(codec.latent(batch["waveform"][items], batch["denoise"][items]), depth)
            output = codec.decoder(codec.quantizer.decode(codes))[..., : target.shape[-1]]
        return self.adversarial.discriminator_loss(judges, target, output, generator)

    def model_loss(self, networks: Networks, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        codec, judges, target = networks["model"], networks["discriminators"], batch["target"]
        assert isinstance(codec, SoundStream) and isinstance(judges, Discriminators)
        depths = codec.random_depths(len(target), generator)
        result = codec(batch["waveform"], depths, generator, denoise=batch["denoise"])
        mel = mel_reconstruction(result.waveform, target, codec.sample_rate)
        total = self.mel_weight * mel + self.commitment_weight * result.commitment
        figures = {
            "mel": mel.detach(),
            "commitment": result.commitment.detach(),
            "perplexity": result.perplexity.mean(),
            "perplexity_first": result.perplexity[0],
        }
        if self.adversarial.joined(batch):
            loss, judged = self.adversarial.generator_loss(judges, target, result.waveform, generator)
            total, figures = total + loss, figures | judged
        return {"loss": total, **figures}

    def crops(self, sources: tuple[str, ...], split: Literal["train", "valid"], seed: int) -> waveforms.RandomCrops:
        recordings = waveforms.recordings(
            sources, split, corpus=self.corpus, cache=self.cache, sample_rate=self.model.sample_rate
        )
        return waveforms.RandomCrops(recordings, length=self.length, batch_size=self.batch_size, seed=seed)

    def dataset(self, split: Literal["train", "valid"]) -> BatchStream:
        seed = self.loop.seed
        return NoisyCrops(self.crops(self.sources, split, seed), self.crops((self.noise,), split, seed + 1), seed=seed)

    def samples(self, model: nn.Module, step: int) -> dict[str, Audio]:
        assert isinstance(model, SoundStream)
        batch = self.dataset("valid")[0]
        waveform, rate = batch["waveform"][:1], model.sample_rate
        heard = {"noisy": Audio(waveform[0], rate)}
        for name, denoise in (("kept", False), ("cleaned", True)):
            output = model.decode(model.encode(waveform, denoise=denoise), length=waveform.shape[-1])
            heard[name] = Audio(output[0], rate)
        return heard

    def export(self, model: nn.Module, folder: Path) -> None:
        assert isinstance(model, SoundStream)
        model.save(folder, dtype=torch.float16)


recipe = SoundStreamTiny()
