"""`nexus/encodec-tiny`: a small codec for 24 kHz sound, the tokens of our music and sound.

EnCodec's residual quantiser (arXiv:2210.13438) between an encoder and a decoder at frame rate, which learn in an hour
on one processor core; 50 frames a second, 4 codebooks of 1024: 2 kbps. This recipe fixes the codes, with spectral
distances alone; `encodec-tiny-decoder` then goes on with the decoder and discriminators.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nexus.codecs.encodec import Encodec, EncodecConfig
from nexus.codecs.frames import FrameCoderConfig
from nexus.data import waveforms
from nexus.media.audio import Audio
from nexus.nn.quantize import QuantizerConfig
from nexus.process.spectral import mel_distance, stft_distance
from nexus.training.recipe import Batch, BatchStream, LoopConfig, Networks, Objective, OptimizerConfig, Recipe


def tiny() -> EncodecConfig:
    quantizer = QuantizerConfig(n_codebooks=4, dim=64, decay=0.95, dead_below=0.1)
    return EncodecConfig(quantizer=quantizer, frames=FrameCoderConfig())


@dataclass(frozen=True, kw_only=True)
class EncodecTiny(Recipe):
    name: str = "encodec-tiny"
    loop: LoopConfig = LoopConfig(steps=900, precision="fp32", ema_decay=0.98, save_every=150, validate_every=150)
    optimizer: OptimizerConfig = OptimizerConfig(lr=1e-3, betas=(0.8, 0.95), warmup_steps=50, clip_norm=5.0)
    model: EncodecConfig = field(default_factory=tiny)
    sources: tuple[str, ...] = ("speech", "music", "music", "sound")  # in equal shares of a batch
    corpus: str = "../shared/data/speech"
    cache: str = "runs/cache"
    batch_size: int = 8
    length: int = 16320  # samples of a crop
    quantized_from: int = 60  # step; before it the latent is not quantised, or codebooks chase a moving encoder
    stft_weight: float = 0.25
    waveform_weight: float = 2.0
    commitment_weight: float = 0.25

    def networks(self) -> dict[str, nn.Module]:
        return {"model": Encodec(self.model)}

    def objectives(self, networks: Networks) -> tuple[Objective, ...]:
        return (Objective("model", ("model",), self.model_loss, self.optimizer),)

    def model_loss(self, networks: Networks, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        model, waveform = networks["model"], batch["waveform"]
        assert isinstance(model, Encodec)
        if int(batch["step"][0]) < self.quantized_from and model.training:
            output = model.decoder(model.encoder(waveform))[..., : waveform.shape[-1]]
            total, figures = self.distances(output, waveform)
            return {"loss": total, **figures}
        # Half of the steps train all codebooks, the others a random number of them.
        full = not model.training or bool(torch.randint(2, (), generator=generator))
        result = model(waveform, None if full else model.random_depth(generator), generator)
        total, figures = self.distances(result.waveform, waveform)
        figures |= {"commitment": result.commitment.detach()}
        figures |= {f"perplexity_{k + 1}": value for k, value in enumerate(result.perplexity)}
        return {"loss": total + self.commitment_weight * result.commitment, **figures}

    def distances(self, output: Tensor, waveform: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Weighted sum of the distances in mel, at fine frequency resolution, and sample by sample."""
        scales = ((2048, 128), (1024, 80), (512, 64), (128, 16))
        mel = mel_distance(output, waveform, self.model.sample_rate, scales)
        stft, distance = stft_distance(output, waveform, (2048,)), F.l1_loss(output, waveform)
        total = mel + self.stft_weight * stft + self.waveform_weight * distance
        return total, {"mel": mel.detach(), "stft": stft.detach(), "l1": distance.detach()}

    def dataset(self, split: Literal["train", "valid"]) -> BatchStream:
        rate = self.model.sample_rate
        makers = {
            "speech": lambda: waveforms.speech(self.corpus, split, rate),
            "music": lambda: waveforms.music(split, 150 if split == "train" else 8, rate),
            "sound": lambda: waveforms.sound(split, 600 if split == "train" else 40, rate),
        }
        recordings = [
            waveforms.cached(Path(self.cache) / f"{source}-{split}-{rate}.npy", makers[source])
            for source in self.sources
        ]
        return waveforms.RandomCrops(recordings, length=self.length, batch_size=self.batch_size, seed=self.loop.seed)

    def samples(self, model: nn.Module, step: int) -> dict[str, Audio]:
        assert isinstance(model, Encodec)
        crops = self.dataset("valid")
        assert isinstance(crops, waveforms.RandomCrops)
        heard = {}
        for name, source in zip(self.sources, crops.sources, strict=True):
            waveform = torch.from_numpy(source[: 8 * model.sample_rate] / 32767).float()[None, None]
            output = model.decode(model.encode(waveform), length=waveform.shape[-1])
            heard |= {f"{name}-original": Audio(waveform[0], rate := model.sample_rate), name: Audio(output[0], rate)}
        return heard

    def export(self, model: nn.Module, folder: Path) -> None:
        assert isinstance(model, Encodec)
        model.save(folder, dtype=torch.float16)


recipe = EncodecTiny()
