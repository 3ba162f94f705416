"""A small SoundStream (arXiv:2107.03312): learns to code speech and music, and to clean them when told to.

No weights come along: this is how to train one. Quantiser dropout, noise behind half of the sounds, a denoising
switch for half of them, reconstruction over six windows, and the paper's discriminators once `adversarial.start` is
reached.
"""

from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor, nn

from nexus.codecs.soundstream import MEL_WEIGHT, SoundStream, SoundStreamConfig
from nexus.data import waveforms
from nexus.data.noisy import NoisyCrops
from nexus.media.audio import Audio
from nexus.nn.quantize import QuantizerConfig, n_used
from nexus.process.adversarial import Discriminators
from nexus.process.soundstream_judges import soundstream_judges
from nexus.process.spectral import mel_reconstruction
from nexus.training.adversarial import AdversarialConfig
from nexus.training.recipe import Batch, BatchStream, LoopConfig, OptimizerConfig
from nexus.training.sounds import SoundRecipe


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
class SoundStreamTiny(SoundRecipe[SoundStream]):
    name: str = "soundstream-tiny"
    loop: LoopConfig = LoopConfig(steps=2000, ema_decay=0.995, save_every=100, validate_every=250)
    optimizer: OptimizerConfig = OptimizerConfig(lr=1e-3, betas=(0.8, 0.95), warmup_steps=50, clip_norm=5.0)
    model: SoundStreamConfig = field(default_factory=tiny)
    sources: tuple[str, ...] = ("speech", "music")
    noise: str = "sound"
    length: int = 12000  # samples of a crop
    adversarial: SoundStreamJudges = SoundStreamJudges(start=1000, items=4)
    mel_weight: float = MEL_WEIGHT
    commitment_weight: float = 1.0

    def build(self) -> SoundStream:
        return SoundStream(self.model)

    def target(self, batch: Batch) -> Tensor:
        return batch["target"]

    def reconstruct(
        self, model: SoundStream, batch: Batch, generator: torch.Generator
    ) -> tuple[Tensor, dict[str, Tensor]]:
        target = batch["target"]
        depths = model.random_depths(len(target), generator)
        result = model(batch["waveform"], depths, generator, denoise=batch["denoise"])
        mel = mel_reconstruction(result.waveform, target, model.sample_rate)
        return result.waveform, {
            "loss": self.mel_weight * mel + self.commitment_weight * result.commitment,
            "mel": mel.detach(),
            "commitment": result.commitment.detach(),
            "perplexity": result.perplexity.mean(),
            "perplexity_first": result.perplexity[0],
            "used": n_used(result.codes),
        }

    def heard(self, model: SoundStream, batch: Batch, generator: torch.Generator) -> Tensor:
        """By way of the codes, for the codebooks follow in the model's turn alone."""
        depth = int(model.random_depths(1, generator))
        codes = model.quantizer.encode(model.latent(batch["waveform"], batch["denoise"]), depth)
        return model.decoder(model.quantizer.decode(codes))[..., : batch["target"].shape[-1]]

    def again(self, model: SoundStream, waveform: Tensor, denoise: bool = False) -> Tensor:
        return model.decode(model.encode(waveform, denoise=denoise), length=waveform.shape[-1])

    def crops(self, sources: tuple[str, ...], split: Literal["train", "valid"], seed: int) -> waveforms.RandomCrops:
        recordings = self.recordings(split, sources)
        return waveforms.RandomCrops(recordings, length=self.length, batch_size=self.batch_size, seed=seed)

    def dataset(self, split: Literal["train", "valid"]) -> BatchStream:
        seed = self.loop.seed
        return NoisyCrops(self.crops(self.sources, split, seed), self.crops((self.noise,), split, seed + 1), seed=seed)

    def samples(self, model: nn.Module, step: int) -> dict[str, Audio]:
        assert isinstance(model, SoundStream)
        waveform, rate = self.dataset("valid")[0]["waveform"][:1], model.sample_rate
        heard = {"noisy": Audio(waveform[0], rate)}
        for name, denoise in (("kept", False), ("cleaned", True)):
            heard[name] = Audio(self.again(model, waveform, denoise)[0], rate)
        return heard


recipe = SoundStreamTiny()
