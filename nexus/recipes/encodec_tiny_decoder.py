"""`nexus/encodec-tiny`, second part: the decoder learns by ear, with discriminators; the encoder and its codes stay.

It starts from the newest `nexus/vocos-tiny`. Models of the codes may be trained beside it: a code keeps its meaning.
"""

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from nexus.codecs.encodec import Encodec
from nexus.hub.load import load
from nexus.process.adversarial import Discriminators
from nexus.process.spectral import mel_distance, stft_distance
from nexus.recipes.encodec_tiny import EncodecTiny
from nexus.training.adversarial import AdversarialConfig, waiting
from nexus.training.recipe import Batch, LoopConfig, Networks, Objective, OptimizerConfig


@dataclass(frozen=True, kw_only=True)
class EncodecTinyDecoder(EncodecTiny):
    name: str = "encodec-tiny-decoder"
    loop: LoopConfig = LoopConfig(steps=400, precision="fp32", ema_decay=0.995, save_every=150, validate_every=150)
    optimizer: OptimizerConfig = OptimizerConfig(lr=5e-4, betas=(0.8, 0.95), warmup_steps=50, clip_norm=5.0)
    start: str = "runs/encodec-tiny/weights"  # what the first part left
    batch_size: int = 8
    length: int = 16384  # samples of a crop
    stft_weight: float = 0.25
    adversarial: AdversarialConfig = field(default_factory=lambda: AdversarialConfig(items=4))

    def networks(self) -> dict[str, nn.Module]:
        codec, vocoder = load(self.start, device="cpu"), load(self.vocoder, device="cpu")
        assert isinstance(codec, Encodec)
        codec.decoder.layers[2].load_state_dict(vocoder.state_dict())
        codec.decoder.requires_grad_(True)
        return {"model": codec, "discriminators": self.adversarial.discriminators()}

    def objectives(self, networks: Networks) -> tuple[Objective, ...]:
        return (
            Objective("discriminators", ("discriminators",), self.discriminator_loss, self.adversarial.optimizer),
            Objective("model", ("model",), self.model_loss, self.optimizer),
        )

    def reconstruct(self, codec: Encodec, waveform: Tensor) -> Tensor:
        with torch.no_grad():
            quantizer = codec.quantizer
            latent = quantizer.decode(quantizer.encode(codec.encoder(waveform)))
        return codec.decoder(latent)[..., : waveform.shape[-1]]

    def discriminator_loss(self, networks: Networks, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        codec, judges = networks["model"], networks["discriminators"]
        assert isinstance(codec, Encodec) and isinstance(judges, Discriminators)
        if not self.adversarial.joined(batch):
            return waiting()
        waveform = batch["waveform"][: self.adversarial.items]
        with torch.no_grad():
            output = self.reconstruct(codec, waveform)
        return self.adversarial.discriminator_loss(judges, waveform, output, generator)

    def model_loss(self, networks: Networks, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        codec, judges, waveform = networks["model"], networks["discriminators"], batch["waveform"]
        assert isinstance(codec, Encodec) and isinstance(judges, Discriminators)
        output = self.reconstruct(codec, waveform)
        mel = mel_distance(output, waveform, codec.sample_rate, ((2048, 128), (1024, 100), (256, 40)))
        stft = stft_distance(output, waveform, (1024,))
        total, figures = mel + self.stft_weight * stft, {"mel": mel.detach(), "stft": stft.detach()}
        if self.adversarial.joined(batch):
            loss, judged = self.adversarial.generator_loss(judges, waveform, output, generator)
            total, figures = total + loss, figures | judged
        return {"loss": total, **figures}


recipe = EncodecTinyDecoder()
