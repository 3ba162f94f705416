"""`nexus/spectral-tiny`: a small codec for 24 kHz speech, music and sound, 5.6 kb/s, that learns spectra alone.

94 frames a second, 6 codebooks of 1024, of which the first few do alone. Latent and codebooks start in closed form, the
decoder's blocks as those of `nexus/vocos-tiny`, which knows mel frames; from there everything learns together.

What moved PESQ on held-out speech: this start (1.85 before the first step; from random weights, coding waveforms, 1.03
after 400), coding magnitudes instead of waveforms (2.08 after 1,000 steps), low bins weighing more (2.50 after 1,000
more). What did not: complex spectra in the input, in the distances, and first phases for the search.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from nexus.codecs.spectral_codec import SpectralCodec, SpectralCodecConfig
from nexus.hub.load import load
from nexus.hub.tensors import load_strict
from nexus.nn.quantize import QuantizerConfig
from nexus.training.recipe import Batch, LoopConfig, Networks, Objective, OptimizerConfig
from nexus.training.sounds import CropRecipe


def tiny() -> SpectralCodecConfig:
    return SpectralCodecConfig(quantizer=QuantizerConfig(n_codebooks=6, dim=64, decay=0.995, dead_below=0.02))


@dataclass(frozen=True, kw_only=True)
class SpectralTiny(CropRecipe[SpectralCodec]):
    name: str = "spectral-tiny"
    loop: LoopConfig = LoopConfig(steps=14000, precision="auto", ema_decay=0.998, save_every=250, validate_every=500)
    optimizer: OptimizerConfig = OptimizerConfig(lr=8e-4, betas=(0.8, 0.95), warmup_steps=50, clip_norm=5.0)
    model: SpectralCodecConfig = field(default_factory=tiny)
    sources: tuple[str, ...] = ("speech", "music", "speech", "sound")
    length: int = 16384  # samples of a crop
    vocoder: str = "nexus/vocos-tiny"  # the decoder's start; blocks that it lacks start as nearly nothing
    fitting_seconds: int = 400  # of sound that the latent and its codebooks start from
    full_share: float = 0.5  # of the items have all codebooks, the others a random number
    log_weight: float = 1.0
    root_weight: float = 5.0
    mel_weight: float = 0.5
    loudness_weight: float = 4.0
    commitment_weight: float = 0.5

    def build(self) -> SpectralCodec:
        codec = SpectralCodec(self.model)
        start_from_vocoder(codec.decoder.layers[0], load(self.vocoder, device="cpu").state_dict(), self.vocoder)
        crops = self.dataset("train")
        n = -(-self.fitting_seconds * self.sample_rate // (self.batch_size * self.length))
        sounds = torch.cat([crops[i]["waveform"] for i in range(n)])
        codec.fit(sounds, torch.Generator().manual_seed(self.loop.seed))
        return codec

    def objectives(self, networks: Networks) -> tuple[Objective, ...]:
        return (Objective("model", ("model",), self.loss, self.optimizer),)

    def loss(self, networks: Networks, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        model = networks["model"]
        assert isinstance(model, SpectralCodec)
        result = model(batch["waveform"], self.depths(len(batch["waveform"]), generator), generator)
        losses = model.losses(result)
        total = torch.stack([self.weights()[name] * loss for name, loss in losses.items()]).sum()
        used = {f"perplexity_{k}": result.perplexity[k - 1] for k in (1, len(result.perplexity))}
        return {"loss": total} | {name: loss.detach() for name, loss in losses.items()} | used

    def weights(self) -> dict[str, float]:
        names = ("log", "root", "mel", "loudness", "commitment")
        return {name: getattr(self, f"{name}_weight") for name in names}

    def depths(self, n_items: int, generator: torch.Generator) -> Tensor:
        """Quantiser dropout: all codebooks for some items, a random number for the others."""
        n = self.model.n_codebooks
        random = torch.randint(1, n + 1, (n_items,), generator=generator)
        full = torch.rand(n_items, generator=generator) < self.full_share
        return torch.where(full, n, random)


def start_from_vocoder(network: nn.Module, learnt: Mapping[str, Tensor], name: str) -> None:
    """Takes over a Vocos's blocks, and of its head the rows that give log-magnitudes."""
    if "head.weight" not in learnt:
        raise ValueError(f"{name} is no Vocos, whose blocks this recipe starts from; nexus/vocos-tiny is one")
    own = network.state_dict()
    n_bins = len(own["out.bias"])
    new = {key: torch.full_like(value, 1e-2) for key, value in own.items() if key.endswith(".gamma")}
    heads = {f"out.{key}": learnt[f"head.{key}"][:n_bins] for key in ("weight", "bias")}
    blocks = {key: value for key, value in learnt.items() if not key.startswith("head.")}
    load_strict(network, own | new | heads | blocks, name)


recipe = SpectralTiny()
