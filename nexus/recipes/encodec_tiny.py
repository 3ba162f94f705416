"""`nexus/encodec-tiny`: a small codec for 24 kHz sound, the tokens of our music and sound.

EnCodec's residual quantiser (arXiv:2210.13438) between an encoder and a decoder at frame rate, which learn in minutes
on one processor core; 47 frames a second, 4 codebooks of 1024: 1.9 kbps. This recipe fixes the codes: mel frames in,
mel frames out, and the Vocos behind them is `nexus/vocos-tiny` as it is. `encodec-tiny-decoder` then goes on with the
decoder, by ear.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nexus.codecs.encodec import Encodec, EncodecConfig, run
from nexus.codecs.frames import FrameCoderConfig
from nexus.data import waveforms
from nexus.hub.load import load
from nexus.media.audio import Audio
from nexus.nn.quantize import QuantizerConfig
from nexus.training.recipe import Batch, BatchStream, LoopConfig, Networks, Objective, OptimizerConfig, Recipe


def tiny() -> EncodecConfig:
    quantizer = QuantizerConfig(n_codebooks=4, dim=64, decay=0.95, dead_below=0.1)
    return EncodecConfig(quantizer=quantizer, frames=FrameCoderConfig())


@dataclass(frozen=True, kw_only=True)
class EncodecTiny(Recipe):
    name: str = "encodec-tiny"
    loop: LoopConfig = LoopConfig(steps=900, precision="fp32", ema_decay=0.98, save_every=150, validate_every=150)
    optimizer: OptimizerConfig = OptimizerConfig(lr=2e-3, betas=(0.8, 0.95), warmup_steps=50, clip_norm=5.0)
    model: EncodecConfig = field(default_factory=tiny)
    sources: tuple[str, ...] = ("speech", "music", "music", "sound")  # in equal shares of a batch
    corpus: str = "../shared/data/speech"
    cache: str = "runs/cache"
    vocoder: str = "nexus/vocos-tiny"
    batch_size: int = 12
    length: int = 32768  # samples of a crop
    quantized_from: int = 100  # step; before it the latent is not quantised, or codebooks chase a moving encoder
    commitment_weight: float = 0.1

    def networks(self) -> dict[str, nn.Module]:
        model, vocoder = Encodec(self.model), load(self.vocoder, device="cpu")
        model.decoder.layers[2].load_state_dict(vocoder.state_dict())
        model.decoder.layers[2].requires_grad_(False)
        return {"model": model}

    def objectives(self, networks: Networks) -> tuple[Objective, ...]:
        return (Objective("model", ("model",), self.model_loss, self.optimizer),)

    def model_loss(self, networks: Networks, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        model = networks["model"]
        assert isinstance(model, Encodec)
        with torch.no_grad():
            mel = model.encoder.layers[0](batch["waveform"])
        latent = run(model.encoder.layers[1:], mel)
        if int(batch["step"][0]) < self.quantized_from and model.training:
            distance = F.l1_loss(run(model.decoder.layers[:2], latent), mel)
            return {"loss": distance, "mel": distance.detach()}
        # Half of the steps train all codebooks, the others a random number of them.
        full = not model.training or bool(torch.randint(2, (), generator=generator))
        quantized = model.quantizer(latent, None if full else model.random_depth(generator), generator)
        distance = F.l1_loss(run(model.decoder.layers[:2], quantized.vectors), mel)
        figures = {"mel": distance.detach(), "commitment": quantized.commitment.detach()}
        figures |= {f"perplexity_{k + 1}": value for k, value in enumerate(quantized.perplexity)}
        return {"loss": distance + self.commitment_weight * quantized.commitment, **figures}

    def dataset(self, split: Literal["train", "valid"]) -> BatchStream:
        recordings = waveforms.recordings(
            self.sources, split, corpus=self.corpus, cache=self.cache, sample_rate=self.model.sample_rate
        )
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
