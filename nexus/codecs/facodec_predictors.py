"""What teaches FACodec which codebooks hold what (arXiv:2403.03100, section 3.2.2): predictors, for training only.

Prosody must tell pitch, content must tell phones. What detail must not tell, pitch and phones, and what all three
together must not tell, the speaker, is predicted behind reversed gradients, and so unlearnt.
Axes: B batch, T frames, D width, N numbers that are predicted.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from nexus.codecs.convolutional import start_without_bias
from nexus.codecs.facodec import FACodec, FACodecOutput, residual_unit
from nexus.nn.alias_free import AliasFree
from nexus.nn.chain import Chain
from nexus.nn.gradient_reversal import reverse_gradient
from nexus.nn.snake import SnakeBeta


@dataclass(frozen=True, kw_only=True)
class PredictorsConfig:
    dim: int = 256  # the codec's
    n_phones: int = 5003
    n_speakers: int = 245200
    weight_norm: bool = True

    def __post_init__(self):
        if min(self.dim, self.n_phones, self.n_speakers) < 1:
            raise ValueError(f"dim, n_phones and n_speakers must be positive, got {self}")


class Predictor(nn.Module):
    """Three residual units and a linear head for each thing that is told of a frame."""

    def __init__(self, dim: int, sizes: tuple[int, ...], weight_norm: bool):
        super().__init__()
        units = [residual_unit(dim, dilation, weight_norm) for dilation in (1, 2, 3)]
        self.body = Chain(*units, AliasFree(SnakeBeta(dim)))
        self.heads = nn.ModuleList(nn.Linear(dim, size) for size in sizes)

    def forward(self, x: Float[Tensor, "B D T"]) -> list[Float[Tensor, "B T N"]]:
        hidden = self.body(x).mT
        return [head(hidden) for head in self.heads]


class SpeakerPredictor(Predictor):
    """The same of a whole recording: heads see the mean over time."""

    def forward(self, x: Float[Tensor, "B D T"]) -> list[Float[Tensor, "B N"]]:
        hidden = self.body(x).mean(-1)
        return [head(hidden) for head in self.heads]


@dataclass(frozen=True)
class Labels:
    """What is known of a batch, a number a frame; -1 is an unknown phone, which counts nowhere."""

    phones: Int[Tensor, "B T"]
    pitch: Float[Tensor, "B T"]  # of voiced frames, normalised
    voiced: Float[Tensor, "B T"]  # 1 where there is a pitch, 0 elsewhere
    speakers: Int[Tensor, " B"]


class Predictors(nn.Module):
    def __init__(self, config: PredictorsConfig):
        super().__init__()
        self.config, norm = config, config.weight_norm
        self.pitch = Predictor(config.dim, (1, 1), norm)
        self.phones = Predictor(config.dim, (config.n_phones,), norm)
        self.detail_pitch = Predictor(config.dim, (1, 1), norm)
        self.detail_phones = Predictor(config.dim, (config.n_phones,), norm)
        self.speaker = SpeakerPredictor(config.dim, (config.n_speakers,), norm)
        start_without_bias(self)

    def loss(self, result: FACodecOutput, labels: Labels) -> dict[str, Tensor]:
        """The sum of all predictors' losses, and each for the log; gradients to detail and to the mix are reversed.

        Absolute error of voiced frames' pitch and binary cross-entropy of voicing; cross-entropy of the others.
        """
        prosody, content, detail = (factor.vectors for factor in result.factors)
        against = reverse_gradient(detail)
        losses = {
            "pitch": pitch_loss(self.pitch(prosody), labels),
            "phones": phone_loss(self.phones(content)[0], labels),
            "detail_pitch": pitch_loss(self.detail_pitch(against), labels),
            "detail_phones": phone_loss(self.detail_phones(against)[0], labels),
            "speaker": F.cross_entropy(self.speaker(reverse_gradient(result.mixed))[0], labels.speakers),
        }
        figures = {name: loss.detach() for name, loss in losses.items()}
        return {"loss": torch.stack(list(losses.values())).sum(), **figures}


class TaughtFACodec(nn.Module):
    """The codec and what teaches it, as one network to train; the codec alone is saved."""

    def __init__(self, codec: FACodec, predictors: Predictors):
        super().__init__()
        self.codec, self.predictors = codec, predictors

    @property
    def sample_rate(self) -> int:
        return self.codec.sample_rate

    def save(self, folder: str | Path, dtype: torch.dtype | None = None) -> None:
        self.codec.save(folder, dtype)


def pitch_loss(told: list[Float[Tensor, "B T 1"]], labels: Labels) -> Float[Tensor, ""]:
    pitch, voiced = (x[..., 0] for x in told)
    error = ((pitch - labels.pitch).abs() * labels.voiced).sum() / labels.voiced.sum().clamp(min=1)
    return error + F.binary_cross_entropy_with_logits(voiced, labels.voiced)


def phone_loss(told: Float[Tensor, "B T N"], labels: Labels) -> Float[Tensor, ""]:
    known = (labels.phones >= 0).sum().clamp(min=1)
    return F.cross_entropy(told.mT, labels.phones, ignore_index=-1, reduction="sum") / known
