"""`nexus/encodec-tiny`: a small codec for 24 kHz sound, the tokens of our music and sound.

EnCodec's residual quantiser (arXiv:2210.13438) between an encoder and a decoder at frame rate; 47 frames a second,
4 codebooks of 1024: 1.9 kbps. The encoder and the codes are fitted in closed form before the first step and stay, so
that models of the codes may be trained at once. The steps teach the decoder, whose Vocos starts from
`nexus/vocos-tiny`; it alone can't hold a tone (the key of music is lost), so sines beside it sound the semitones.
"""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from nexus.codecs.encodec import Encodec, EncodecConfig
from nexus.codecs.frames import FrameCoderConfig, Synthesis, analysis_of, fit
from nexus.hub.load import load
from nexus.hub.source import find
from nexus.hub.tensors import drop, load_strict, read_tensors
from nexus.nn.quantize import QuantizerConfig
from nexus.process.spectral import mel_distance, stft_distance
from nexus.training.adversarial import AdversarialConfig
from nexus.training.recipe import Batch, LoopConfig, OptimizerConfig
from nexus.training.sounds import SoundRecipe


def tiny() -> EncodecConfig:
    quantizer = QuantizerConfig(n_codebooks=4, dim=96, k_means_steps=10)
    return EncodecConfig(quantizer=quantizer, frames=FrameCoderConfig())


@dataclass(frozen=True, kw_only=True)
class EncodecTiny(SoundRecipe[Encodec]):
    name: str = "encodec-tiny"
    loop: LoopConfig = LoopConfig(steps=8300, precision="auto", ema_decay=0.995, save_every=100, validate_every=250)
    optimizer: OptimizerConfig = OptimizerConfig(lr=5e-4, betas=(0.8, 0.95), warmup_steps=50, clip_norm=5.0)
    model: EncodecConfig = field(default_factory=tiny)
    sources: tuple[str, ...] = ("speech", "music", "music", "sound")
    vocoder: str = "nexus/vocos-tiny"  # the decoder's start
    fitted: str = ""  # a weights folder whose encoder and codes are kept; empty fits them anew
    start: str = ""  # weights to go on from, decoder and all, such as nexus/encodec-tiny; the codes stay theirs
    fitting_seconds: int = 700  # of sound that the encoder and the codebooks are fitted to, from each source
    length: int = 16384  # samples of a crop
    # Spectral distances alone leave music too smooth to tell its style by: discriminators join for the last third.
    adversarial: AdversarialConfig = AdversarialConfig(
        start=5500, items=4, length=8192, n_ffts=(2048, 1024, 512, 256), weight=0.15, feature_weight=0.3
    )
    stft_weight: float = 0.25
    tone_weight: float = 0.5  # of the distance between semitones

    def build(self) -> Encodec:
        codec = Encodec(self.model)
        synthesis = codec.decoder.layers[2]
        assert isinstance(synthesis, Synthesis)
        synthesis.vocos.load_state_dict(load(self.vocoder, device="cpu").state_dict())
        if self.start:
            load_strict(codec, read_tensors(find(self.start)), self.start)
        elif self.fitted:
            kept = drop(read_tensors(Path(self.fitted)), r"^decoder\.layers\.[12]\.")
            load_strict(codec, codec.state_dict() | kept, self.fitted)
        else:
            self.fit(codec)
        codec.requires_grad_(False)
        codec.decoder.requires_grad_(True)
        return codec

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

    def heard(self, model: Encodec, batch: Batch, generator: torch.Generator) -> Tensor:
        """What the decoder makes of the codes."""
        waveform = batch["waveform"]
        with torch.no_grad():
            latent = model.quantizer.decode(model.quantizer.encode(model.encoder(waveform)))
        return model.decoder(latent)[..., : waveform.shape[-1]]

    def reconstruct(self, model: Encodec, batch: Batch, generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        waveform, output = batch["waveform"], self.heard(model, batch, generator)
        mel = mel_distance(output, waveform, model.sample_rate, ((2048, 128), (1024, 100), (256, 40)))
        stft = stft_distance(output, waveform, (1024,))
        tone = F.l1_loss(self.semitones(model, output), self.semitones(model, waveform))
        total = mel + self.stft_weight * stft + self.tone_weight * tone
        return output, {"loss": total, "mel": mel.detach(), "stft": stft.detach(), "tones": tone.detach()}

    def semitones(self, codec: Encodec, waveform: Float[Tensor, "B 1 L"]) -> Float[Tensor, "B S N"]:
        """How loud each semitone sounds, as the encoder hears it; whole windows, a quarter apart."""
        frames = self.model.frames
        assert frames is not None
        windows = waveform[:, 0].float().unfold(-1, frames.tone_window, frames.tone_window // 4)
        return (analysis_of(codec.encoder.layers).tones(windows) / frames.tone_floor).log1p()


recipe = EncodecTiny()
