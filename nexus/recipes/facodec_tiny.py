"""A small FACodec (arXiv:2403.03100, section 3.2) for 16 kHz speech: prosody, content, detail and timbre apart.

No weights come along: this is how to train one. Prosody and content learn from predictors of pitch and of phones alone;
pitch, phones and the speaker are predicted behind reversed gradients from what must not tell them. Labels are the
corpus's own: phones by its alignment, pitch by YIN. DAC's discriminators join once `adversarial.start` is reached.

Deviation: the weights of the predictors' losses are one each. Commitment has DAC's weight, fifty times FACodec's own,
at which latents ran away from the codebooks of a small one within forty steps.
"""

from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from nexus.codecs.facodec import FACodec, FACodecConfig
from nexus.codecs.facodec_predictors import Labels, Predictors, PredictorsConfig, TaughtFACodec
from nexus.data.labelled_speech import LabelledSpeech
from nexus.data.speech import read_manifest
from nexus.nn.chain import Chain
from nexus.nn.unit_variance import keep_variance
from nexus.recipes.dac_tiny import DacJudges
from nexus.text.phonemes import SYMBOLS
from nexus.training.recipe import Batch, BatchStream, LoopConfig, OptimizerConfig
from nexus.training.sounds import SoundRecipe


def tiny() -> FACodecConfig:
    """The published layers at a quarter of their width, six codebooks of 256, 3.8 kb/s."""
    return FACodecConfig(
        encoder_dim=8,
        decoder_dim=256,
        dim=64,
        codebook_size=256,
        n_layers=2,
        hidden_dim=256,
        weight_norm=True,
    )


@dataclass(frozen=True, kw_only=True)
class FACodecTiny(SoundRecipe[TaughtFACodec]):
    name: str = "facodec-tiny"
    loop: LoopConfig = LoopConfig(steps=20000, ema_decay=0.998, save_every=250, validate_every=500)
    optimizer: OptimizerConfig = OptimizerConfig(lr=5e-4, betas=(0.8, 0.99), warmup_steps=50, clip_norm=1000.0)
    model: FACodecConfig = field(default_factory=tiny)
    sources: tuple[str, ...] = ("speech",)
    length: int = 9600  # samples of a crop: 48 frames
    mel_weight: float = 15.0  # beside the predictors' losses, of one each
    commitment_weight: float = 0.25
    adversarial: DacJudges = field(default_factory=lambda: DacJudges(start=3000, items=3))

    def speakers(self) -> list[str]:
        return sorted({utterance.speaker for utterance in read_manifest(self.corpus, "train")})

    def build(self) -> TaughtFACodec:
        """Starts with latents of the codebooks' size; by torch's own they are hundreds of times smaller, and the first
        steps' biases make one code of all frames."""
        codec = FACodec(self.model)
        keep_variance(codec.encoder, 0.1 * torch.randn(4, 1, self.length))
        keep_variance(
            Chain(*codec.decoder.layers[:-2]), torch.randn(4, self.model.dim, self.length // codec.hop_length)
        )
        sizes = PredictorsConfig(dim=self.model.dim, n_phones=len(SYMBOLS), n_speakers=len(self.speakers()))
        return TaughtFACodec(codec, Predictors(sizes))

    def reconstruct(
        self, model: TaughtFACodec, batch: Batch, generator: torch.Generator
    ) -> tuple[Tensor, dict[str, Tensor]]:
        result = model.codec(batch["waveform"], generator, guided=True)
        labels = Labels(*(batch[name] for name in ("phones", "pitch", "voiced", "speakers")))
        losses = model.codec.losses(result, batch["waveform"], self.mel_weight, self.commitment_weight)
        taught = model.predictors.loss(result, labels)
        return result.waveform, taught | losses | {"loss": losses["loss"] + taught["loss"]}

    def heard(self, model: TaughtFACodec, batch: Batch, generator: torch.Generator) -> Tensor:
        return model.codec(batch["waveform"], generator, guided=True).waveform

    def again(self, model: TaughtFACodec, waveform: Tensor) -> Tensor:
        codec = model.codec
        return codec.decode(codec.encode(waveform), codec.timbre(waveform), length=waveform.shape[-1])

    def dataset(self, split: Literal["train", "valid"]) -> BatchStream:
        return LabelledSpeech(
            self.corpus,
            read_manifest(self.corpus, split),
            self.speakers(),
            sample_rate=self.sample_rate,
            hop_length=self.model.hop_length,
            length=self.length,
            batch_size=self.batch_size,
            seed=self.loop.seed,
        )


recipe = FACodecTiny()
