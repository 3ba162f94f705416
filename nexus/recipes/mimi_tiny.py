"""A small Mimi (arXiv:2410.00037, section 3.3) for 24 kHz speech: 12.5 frames a second, the first code for meaning.

No weights come along: this is how to train one. Quantiser dropout, half of the items unquantised, EnCodec's
discriminators from `adversarial.start` on, and distillation into the semantic codebook.

Deviation: the paper distils WavLM, whose weights do not come along; here it is cepstra at the same rate, pooled alike,
which tell vowels from consonants but not words. `features` is the place to put a model of speech.
"""

import math
from dataclasses import dataclass, field, replace

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from nexus.codecs.mimi import Mimi, MimiConfig, mimi_seanet
from nexus.media.features import MelConfig, log_mel
from nexus.nn.quantize import QuantizerConfig, n_used
from nexus.nn.sliding import SlidingTransformerConfig
from nexus.process.spectral import mel_distance
from nexus.training.adversarial import AdversarialConfig
from nexus.training.recipe import Batch, LoopConfig, OptimizerConfig
from nexus.training.sounds import SoundRecipe

N_CEPSTRA = 20


def tiny() -> MimiConfig:
    return MimiConfig(
        latent_dim=96,
        seanet=replace(mimi_seanet(), n_filters=8),
        transformer=SlidingTransformerConfig(dim=96, n_layers=2, n_heads=4, hidden_dim=256, window=100),
        upsample_groups=96,
        quantizer=QuantizerConfig(n_codebooks=8, codebook_size=256, dim=32),
        feature_dim=N_CEPSTRA,
    )


def cepstra(waveform: Float[Tensor, "B 1 L"], sample_rate: int, hop_length: int) -> Float[Tensor, "B M T"]:
    """Mel cepstra 1 to 20 at the codec's rate, each of zero mean and unit variance over the batch.

    Four analysis frames a codec frame, averaged over eight of them around it (the paper's pooling, not causal).
    """
    config = MelConfig(sample_rate=sample_rate, hop_length=hop_length // 4, n_mels=40, clamp=1e-4)
    whole = F.pad(waveform, (0, -waveform.shape[-1] % hop_length))
    mel = log_mel(whole[:, 0], config)
    bins = torch.arange(40, device=mel.device) + 0.5
    orders = torch.arange(1, N_CEPSTRA + 1, device=mel.device)  # without the first, which is loudness
    cosines = torch.cos(math.pi / 40 * torch.outer(orders, bins)).to(mel.dtype)
    pooled = F.avg_pool1d(cosines @ mel, 8, stride=4, padding=2, count_include_pad=False)
    mean, std = pooled.mean((0, 2), keepdim=True), pooled.std((0, 2), keepdim=True)
    return (pooled - mean) / std.clamp(min=1e-3)


@dataclass(frozen=True, kw_only=True)
class MimiTiny(SoundRecipe[Mimi]):
    name: str = "mimi-tiny"
    loop: LoopConfig = LoopConfig(steps=4000, ema_decay=0.995, save_every=100, validate_every=250)
    optimizer: OptimizerConfig = OptimizerConfig(lr=8e-4, betas=(0.8, 0.95), warmup_steps=50, clip_norm=5.0)
    model: MimiConfig = field(default_factory=tiny)
    sources: tuple[str, ...] = ("speech",)
    length: int = 15360  # samples of a crop: eight frames
    adversarial: AdversarialConfig = AdversarialConfig(start=2000, items=4)
    commitment_weight: float = 1.0
    semantic_weight: float = 1.0

    def build(self) -> Mimi:
        return Mimi(self.model)

    def features(self, codec: Mimi, waveform: Float[Tensor, "B 1 L"]) -> Float[Tensor, "B M T"]:
        """What the semantic codes shall mean."""
        return cepstra(waveform, codec.sample_rate, codec.hop_length)

    def reconstruct(self, model: Mimi, batch: Batch, generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        waveform = batch["waveform"]
        result = model(waveform, model.random_depth(generator), generator, self.model.quantized_share)
        mel = mel_distance(result.waveform, waveform, model.sample_rate)
        semantic = model.semantic_distance(result.semantic, self.features(model, waveform))
        total = mel + self.commitment_weight * result.commitment + self.semantic_weight * semantic
        return result.waveform, {
            "loss": total,
            "mel": mel.detach(),
            "commitment": result.commitment.detach(),
            "semantic": semantic.detach(),
            "perplexity": result.perplexity.mean(),
            "perplexity_semantic": result.perplexity[0],
            "used": n_used(result.codes),
        }

    def heard(self, model: Mimi, batch: Batch, generator: torch.Generator) -> Tensor:
        """By way of the codes, for the codebooks follow in the model's turn alone."""
        codes = model.quantizer.encode(model.latent(batch["waveform"]), model.random_depth(generator))
        return model.sound(model.quantizer.decode(codes))[..., : batch["waveform"].shape[-1]]


recipe = MimiTiny()
