"""`nexus/encodec-tiny`: a small codec for 24 kHz sound, the tokens of our music and sound.

EnCodec's residual quantiser (arXiv:2210.13438) between an encoder and a decoder at frame rate; 47 frames a second,
4 codebooks of 1024: 1.9 kbps. The encoder and the codes are fitted in closed form before the first step and stay, so
that models of the codes may be trained at once. The steps teach the decoder, whose Vocos starts from
`nexus/vocos-tiny`; it alone can't hold a tone (the key of music is lost), so sines beside it sound the semitones.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from nexus.codecs.encodec import Encodec, EncodecConfig
from nexus.codecs.frames import FrameCoderConfig, Synthesis, analysis_of, fit
from nexus.data import waveforms
from nexus.hub.load import load
from nexus.hub.tensors import drop, load_strict, read_tensors
from nexus.media.audio import Audio
from nexus.nn.quantize import QuantizerConfig
from nexus.process.adversarial import Discriminators
from nexus.process.spectral import mel_distance, stft_distance
from nexus.training.adversarial import AdversarialConfig, waiting
from nexus.training.recipe import Batch, BatchStream, LoopConfig, Networks, Objective, OptimizerConfig, Recipe


def tiny() -> EncodecConfig:
    quantizer = QuantizerConfig(n_codebooks=4, dim=96, k_means_steps=10)
    return EncodecConfig(quantizer=quantizer, frames=FrameCoderConfig())


@dataclass(frozen=True, kw_only=True)
class EncodecTiny(Recipe):
    name: str = "encodec-tiny"
    loop: LoopConfig = LoopConfig(steps=1500, precision="bf16", ema_decay=0.995, save_every=100, validate_every=250)
    optimizer: OptimizerConfig = OptimizerConfig(lr=5e-4, betas=(0.8, 0.95), warmup_steps=50, clip_norm=5.0)
    model: EncodecConfig = field(default_factory=tiny)
    sources: tuple[str, ...] = ("speech", "music", "music", "sound")  # in equal shares of a batch
    corpus: str = "../shared/data/speech"
    cache: str = "runs/cache"
    vocoder: str = "nexus/vocos-tiny"  # the decoder's start
    fitted: str = ""  # a weights folder whose encoder and codes are kept; empty fits them anew
    fitting_seconds: int = 700  # of sound that the encoder and the codebooks are fitted to, from each source
    batch_size: int = 8
    length: int = 16384  # samples of a crop
    adversarial: AdversarialConfig = field(default_factory=lambda: AdversarialConfig(start=10000, items=4))
    stft_weight: float = 0.25
    tone_weight: float = 0.5  # of the distance between semitones

    def networks(self) -> dict[str, nn.Module]:
        codec = Encodec(self.model)
        synthesis = codec.decoder.layers[2]
        assert isinstance(synthesis, Synthesis)
        synthesis.vocos.load_state_dict(load(self.vocoder, device="cpu").state_dict())
        if self.fitted:
            kept = drop(read_tensors(Path(self.fitted)), r"^decoder\.layers\.[12]\.")
            load_strict(codec, codec.state_dict() | kept, self.fitted)
        else:
            self.fit(codec)
        codec.requires_grad_(False)
        codec.decoder.requires_grad_(True)
        return {"model": codec, "discriminators": self.adversarial.discriminators()}

    def fit(self, codec: Encodec) -> None:
        """Closed form: principal axes and k-means of frames from all over the recordings."""
        frames = []
        for recording in {name: r for name, r in zip(self.sources, self.recordings("train"), strict=True)}.values():
            length = 4 * codec.sample_rate
            starts = np.linspace(0, len(recording) - length, self.fitting_seconds // 4).astype(int)
            crops = torch.from_numpy(np.stack([recording[s : s + length] for s in starts])).float() / 32767
            frames += [codec.encoder.layers[0](crop[None, None]) for crop in crops]
        generator = torch.Generator().manual_seed(self.loop.seed)
        fit(codec.encoder.layers, codec.decoder.layers, codec.quantizer, torch.cat(frames), generator)

    def objectives(self, networks: Networks) -> tuple[Objective, ...]:
        return (
            Objective("discriminators", ("discriminators",), self.discriminator_loss, self.adversarial.optimizer),
            Objective("model", ("model",), self.model_loss, self.optimizer),
        )

    def coded(self, codec: Encodec, waveform: Tensor) -> Tensor:
        """What the decoder makes of the codes."""
        with torch.no_grad():
            latent = codec.quantizer.decode(codec.quantizer.encode(codec.encoder(waveform)))
        return codec.decoder(latent)[..., : waveform.shape[-1]]

    def discriminator_loss(self, networks: Networks, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        codec, judges = networks["model"], networks["discriminators"]
        assert isinstance(codec, Encodec) and isinstance(judges, Discriminators)
        if not self.adversarial.joined(batch):
            return waiting()
        waveform = batch["waveform"][: self.adversarial.items]
        with torch.no_grad():
            output = self.coded(codec, waveform)
        return self.adversarial.discriminator_loss(judges, waveform, output, generator)

    def model_loss(self, networks: Networks, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        codec, judges, waveform = networks["model"], networks["discriminators"], batch["waveform"]
        assert isinstance(codec, Encodec) and isinstance(judges, Discriminators)
        output = self.coded(codec, waveform)
        mel = mel_distance(output, waveform, codec.sample_rate, ((2048, 128), (1024, 100), (256, 40)))
        stft = stft_distance(output, waveform, (1024,))
        tone = F.l1_loss(self.semitones(codec, output), self.semitones(codec, waveform))
        total = mel + self.stft_weight * stft + self.tone_weight * tone
        figures = {"mel": mel.detach(), "stft": stft.detach(), "tones": tone.detach()}
        if self.adversarial.joined(batch):
            loss, judged = self.adversarial.generator_loss(judges, waveform, output, generator)
            total, figures = total + loss, figures | judged
        return {"loss": total, **figures}

    def semitones(self, codec: Encodec, waveform: Float[Tensor, "B 1 L"]) -> Float[Tensor, "B S N"]:
        """How loud each semitone sounds, as the encoder hears it; whole windows, a quarter apart."""
        frames = self.model.frames
        assert frames is not None
        windows = waveform[:, 0].float().unfold(-1, frames.tone_window, frames.tone_window // 4)
        return (analysis_of(codec.encoder.layers).tones(windows) / frames.tone_floor).log1p()

    def recordings(self, split: Literal["train", "valid"]) -> list[np.ndarray]:
        return waveforms.recordings(
            self.sources, split, corpus=self.corpus, cache=self.cache, sample_rate=self.model.sample_rate
        )

    def dataset(self, split: Literal["train", "valid"]) -> BatchStream:
        return waveforms.RandomCrops(
            self.recordings(split), length=self.length, batch_size=self.batch_size, seed=self.loop.seed
        )

    def samples(self, model: nn.Module, step: int) -> dict[str, Audio]:
        assert isinstance(model, Encodec)
        heard = {}
        for name, recording in zip(self.sources, self.recordings("valid"), strict=True):
            waveform = torch.from_numpy(recording[: 8 * model.sample_rate] / 32767).float()[None, None]
            output = model.decode(model.encode(waveform), length=waveform.shape[-1])
            heard |= {f"{name}-original": Audio(waveform[0], rate := model.sample_rate), name: Audio(output[0], rate)}
        return heard

    def export(self, model: nn.Module, folder: Path) -> None:
        assert isinstance(model, Encodec)
        model.save(folder, dtype=torch.float16)


recipe = EncodecTiny()
