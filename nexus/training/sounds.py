"""What recipes of codecs and vocoders share: crops, samples of recordings; discriminators' turn before the model's."""

from abc import abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Literal, Protocol, TypeVar, cast, runtime_checkable

import torch
from numpy import ndarray
from torch import Tensor, nn

from nexus.data import waveforms
from nexus.media.audio import Audio
from nexus.process.adversarial import Discriminators
from nexus.training.adversarial import AdversarialConfig, waiting
from nexus.training.recipe import Batch, BatchStream, Networks, Objective, Recipe

Model = TypeVar("Model", bound=nn.Module)


@runtime_checkable
class Sounding(Protocol):
    """What every codec and vocoder has."""

    @property
    def sample_rate(self) -> int: ...

    def save(self, folder: str | Path, dtype: torch.dtype | None = None) -> None: ...


@dataclass(frozen=True, kw_only=True)
class CropRecipe(Recipe, Generic[Model]):
    """A recipe that learns from crops of recordings says what it builds and how that gives a recording back."""

    model: Any  # the config of what is built
    sources: tuple[str, ...] = ("speech", "music", "sound")  # in equal shares of a batch
    corpus: str = "../shared/data/speech"
    cache: str = "runs/cache"
    batch_size: int = 8
    length: int = 8192  # samples of a crop
    sample_seconds: int = 8  # of what is to be heard of each source

    @property
    def sample_rate(self) -> int:
        """Of what the model hears."""
        return self.model.sample_rate

    @abstractmethod
    def build(self) -> Model:
        """The model before its first step."""

    def again(self, model: Model, waveform: Tensor) -> Tensor:
        """A recording [1, 1, L] as it is in use, for samples; by default by way of a codec's codes."""
        codec = cast(Any, model)
        return codec.decode(codec.encode(waveform), length=waveform.shape[-1])

    def networks(self) -> dict[str, nn.Module]:
        return {"model": self.build()}

    def recordings(self, split: Literal["train", "valid"], sources: tuple[str, ...] | None = None) -> list[ndarray]:
        return waveforms.recordings(
            sources or self.sources, split, corpus=self.corpus, cache=self.cache, sample_rate=self.sample_rate
        )

    def dataset(self, split: Literal["train", "valid"]) -> BatchStream:
        return waveforms.RandomCrops(
            self.recordings(split), length=self.length, batch_size=self.batch_size, seed=self.loop.seed
        )

    def samples(self, model: nn.Module, step: int) -> dict[str, Audio]:
        assert isinstance(model, Sounding)
        heard, rate = {}, model.sample_rate
        for name, recording in dict(zip(self.sources, self.recordings("valid"), strict=True)).items():
            waveform = torch.from_numpy(recording[: self.sample_seconds * rate] / 32767).float()[None, None]
            output = self.again(cast(Model, model), waveform)
            heard |= {f"{name}-original": Audio(waveform[0], rate), name: Audio(output[0], rate)}
        return heard

    def export(self, model: nn.Module, folder: Path) -> None:
        assert isinstance(model, Sounding)
        model.save(folder, dtype=torch.float16)


@dataclass(frozen=True, kw_only=True)
class SoundRecipe(CropRecipe[Model]):
    """With discriminators: it also says how the model reconstructs a batch and what it loses by it."""

    adversarial: AdversarialConfig = AdversarialConfig()

    @abstractmethod
    def reconstruct(self, model: Model, batch: Batch, generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        """The waveform that discriminators judge, and the losses beside theirs, with what goes to the log."""

    @abstractmethod
    def heard(self, model: Model, batch: Batch, generator: torch.Generator) -> Tensor:
        """The waveform of `reconstruct` alone, in the discriminators' turn, when the model must not change."""

    def target(self, batch: Batch) -> Tensor:
        """What the model should sound like."""
        return batch["waveform"]

    def networks(self) -> dict[str, nn.Module]:
        return super().networks() | {"discriminators": self.adversarial.discriminators()}

    def objectives(self, networks: Networks) -> tuple[Objective, ...]:
        return (
            Objective("discriminators", ("discriminators",), self.discriminator_loss, self.adversarial.optimizer),
            Objective("model", ("model",), self.model_loss, self.optimizer),
        )

    def discriminator_loss(self, networks: Networks, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        model, judges = cast(Model, networks["model"]), networks["discriminators"]
        assert isinstance(judges, Discriminators)
        if not self.adversarial.learns(batch):
            return waiting()
        some = {name: values[: self.adversarial.items] for name, values in batch.items()}
        with torch.no_grad():
            output = self.heard(model, some, generator)
        return self.adversarial.discriminator_loss(
            judges, self.target(some)[..., : output.shape[-1]], output, generator
        )

    def model_loss(self, networks: Networks, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        model, judges = cast(Model, networks["model"]), networks["discriminators"]
        assert isinstance(judges, Discriminators)
        output, losses = self.reconstruct(model, batch, generator)
        if self.adversarial.joined(batch):
            target = self.target(batch)[..., : output.shape[-1]]
            losses = losses | self.adversarial.generator_losses(judges, target, output, generator)
        return losses | {"loss": self.total(networks, output, losses)}

    def total(self, networks: Networks, output: Tensor, losses: dict[str, Tensor]) -> Tensor:
        """What the model minimises: the losses of `reconstruct` and, where discriminators took part, theirs."""
        return losses["loss"] + (self.adversarial.weighed(losses) if "adversarial" in losses else 0)
