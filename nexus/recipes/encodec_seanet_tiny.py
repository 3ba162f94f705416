"""A small EnCodec as the paper trains it (arXiv:2210.13438): SEANet and codebooks learnt together, losses balanced.

No weights come along: this is how to train one (`encodec-tiny`, which does, has a cheaper encoder and decoder).
Waveform and mel distances, once `adversarial.start` is reached discriminators over five STFTs and the matching of
their features, all weighed by the size of their gradients at the output; commitment beside them; a random number of
codebooks a step.
"""

from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nexus.codecs.encodec import Encodec, EncodecConfig
from nexus.codecs.seanet import SEANetConfig
from nexus.nn.quantize import QuantizerConfig, n_used
from nexus.process.adversarial import Balancer
from nexus.process.spectral import mel_reconstruction
from nexus.training.adversarial import AdversarialConfig
from nexus.training.recipe import Batch, LoopConfig, Networks, OptimizerConfig
from nexus.training.sounds import SoundRecipe

# Section 3.4 and the published settings at 24 kHz.
WEIGHTS = {"waveform": 0.1, "mel": 1.0, "adversarial": 3.0, "features": 3.0}


@dataclass(frozen=True, kw_only=True)
class EncodecJudges(AdversarialConfig):
    """The paper's discriminators, narrower; they learn in two of three steps."""

    n_ffts: tuple[int, ...] = (2048, 1024, 512, 256, 128)
    periods: tuple[int, ...] = ()

    def learns(self, batch: Batch) -> bool:
        return self.joined(batch) and int(batch["step"][0]) % 3 != 2


def tiny() -> EncodecConfig:
    """The published layers at a quarter of their width; 8 codebooks of 256, 0.6 to 4.8 kb/s at 75 frames a second."""
    return EncodecConfig(
        seanet=SEANetConfig(n_filters=8), quantizer=QuantizerConfig(n_codebooks=8, codebook_size=256, dim=64)
    )


@dataclass(frozen=True, kw_only=True)
class EncodecSEANetTiny(SoundRecipe[Encodec]):
    name: str = "encodec-seanet-tiny"
    loop: LoopConfig = LoopConfig(steps=20000, ema_decay=0.995, save_every=250, validate_every=500)
    optimizer: OptimizerConfig = OptimizerConfig(lr=5e-4, betas=(0.5, 0.9), warmup_steps=50, clip_norm=1000.0)
    model: EncodecConfig = field(default_factory=tiny)
    length: int = 12000  # samples of a crop; the paper's have a second
    adversarial: EncodecJudges = EncodecJudges(start=2000, items=4)

    def build(self) -> Encodec:
        return Encodec(self.model)

    def networks(self) -> dict[str, nn.Module]:
        """With the balancer, whose averages are of a run as the weights are."""
        return super().networks() | {"balancer": Balancer(WEIGHTS)}

    def reconstruct(self, model: Encodec, batch: Batch, generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        waveform = batch["waveform"]
        result = model(waveform, model.random_depth(generator), generator)
        return result.waveform, {
            "waveform": F.l1_loss(result.waveform, waveform),
            "mel": mel_reconstruction(result.waveform, waveform, self.sample_rate),
            "commitment": result.commitment,
            "perplexity": result.perplexity.mean(),
            "perplexity_first": result.perplexity[0],
            "used": n_used(result.codes),
        }

    def total(self, networks: Networks, output: Tensor, losses: dict[str, Tensor]) -> Tensor:
        balancer = networks["balancer"]
        assert isinstance(balancer, Balancer)
        return balancer({name: losses[name] for name in WEIGHTS if name in losses}, output) + losses["commitment"]

    def heard(self, model: Encodec, batch: Batch, generator: torch.Generator) -> Tensor:
        """By way of the codes, for the codebooks follow in the model's turn alone."""
        codes = model.quantizer.encode(model.encoder(batch["waveform"]), model.random_depth(generator))
        return model.decoder(model.quantizer.decode(codes))[..., : batch["waveform"].shape[-1]]


recipe = EncodecSEANetTiny()
