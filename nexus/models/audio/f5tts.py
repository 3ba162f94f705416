"""F5-TTS (arXiv:2410.06885): speech in any voice by infilling a mel spectrogram after a few seconds of that voice.

Axes: B batch, M mel bins, T frames, S symbols. Flow time t runs from 0 (noise) to 1 (data).
"""

from dataclasses import dataclass, field

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from nexus.media.features import MelConfig
from nexus.models.audio.durations import DurationConfig, DurationPredictor
from nexus.models.audio.f5tts_dit import DiT, DiTConfig
from nexus.process.flow import flow_loss, logit_normal


@dataclass(frozen=True, kw_only=True)
class InfillingConfig:
    """What is hidden in training, as probabilities and fractions of an utterance."""

    masked: tuple[float, float] = (0.7, 1.0)
    prefix_only: float = 0.0  # how often what is known lies before the masked span only, as in use
    drop_voice: float = 0.3
    drop_all: float = 0.2
    drop_known_text: float = 0.0  # how often the known part comes without its text
    time_logit: tuple[float, float] | None = None  # mean and deviation; None draws t uniformly


@dataclass(frozen=True, kw_only=True)
class F5TTSConfig:
    network: DiTConfig = field(default_factory=DiTConfig)
    mel: MelConfig = field(default_factory=MelConfig.f5)
    mel_mean: float = 0.0  # the network sees (mel - mel_mean) / mel_std
    mel_std: float = 1.0
    durations: DurationConfig | None = None  # given: text is laid out by predicted durations; else padded with filler
    infilling: InfillingConfig = field(default_factory=InfillingConfig)
    steps: int = 32
    guidance_scale: float = 2.0  # velocity + scale * (velocity - null velocity)
    default_voice_frames: int = 0  # length of the voice that comes with the weights


class F5TTS(nn.Module):
    def __init__(self, config: F5TTSConfig):
        super().__init__()
        self.config = config
        self.network = DiT(config.network)
        self.durations = DurationPredictor(config.durations) if config.durations else None
        if config.default_voice_frames:
            self.register_buffer("default_voice", torch.zeros(config.network.n_mels, config.default_voice_frames))

    def forward(
        self,
        x_t: Float[Tensor, "B M T"],
        t: Float[Tensor, " B"],
        cond: Float[Tensor, "B M T"],
        text: Int[Tensor, "B S"],
        mask: Bool[Tensor, "B T"] | None = None,
    ) -> Float[Tensor, "B M T"]:
        return self.network(x_t, t, cond, text, mask)

    def normalise(self, mel: Tensor) -> Tensor:
        return (mel - self.config.mel_mean) / self.config.mel_std

    def loss(self, batch: dict[str, Tensor], generator: torch.Generator | None = None) -> dict[str, Tensor]:
        """Flow matching on masked spans (section 3.1), and the likelihood of the durations where they are predicted.

        Args:
            batch: mel [B, M, T], length [B] in frames, text [B, T]; with durations also symbols, durations [B, S].
        """
        rng = generator or torch.Generator().manual_seed(torch.seed())
        hide, device = self.config.infilling, batch["mel"].device
        mel, length = self.normalise(batch["mel"]), batch["length"].cpu()
        n = len(mel)
        frames = torch.arange(mel.shape[-1])
        own = frames < length[:, None]  # [B, T]
        span = masked_spans(length, mel.shape[-1], hide, rng).to(device)
        drop_all = torch.rand(n, generator=rng) < hide.drop_all
        drop_voice = (torch.rand(n, generator=rng) < hide.drop_voice) | drop_all
        drop_known_text = torch.rand(n, generator=rng) < hide.drop_known_text
        t = logit_normal(n, rng, *hide.time_logit) if hide.time_logit else torch.rand(n, generator=rng)
        noise = torch.randn(mel.shape, generator=rng).to(device)

        cond = torch.where(span[:, None], 0, mel) * own[:, None].to(device)
        text = torch.where(drop_known_text[:, None].to(device) & ~span, -1, batch["text"])

        def velocity(x_t: Tensor, t: Tensor) -> Tensor:
            return self.network(x_t, t, cond, text, own.to(device), drop_voice.to(device), drop_all.to(device))

        errors = flow_loss(velocity, mel, noise, t.to(device), span[:, None])
        weights = span.sum(dim=1)
        losses = {"flow": (errors * weights).sum() / weights.sum()}
        if self.durations is not None:
            losses["duration"] = self.durations.loss(batch["symbols"], batch["durations"])
        return {"loss": torch.stack(list(losses.values())).sum(), **losses}


def masked_spans(
    length: Int[Tensor, " B"], n_frames: int, config: InfillingConfig, rng: torch.Generator
) -> Bool[Tensor, "B T"]:
    """One contiguous span of frames to generate in each item, True inside."""
    low, high = config.masked
    masked = ((low + (high - low) * torch.rand(len(length), generator=rng)) * length).long().clamp(min=1)
    place = torch.rand(len(length), generator=rng)
    at_end = torch.rand(len(length), generator=rng) < config.prefix_only
    start = torch.where(at_end, length - masked, (place * (length - masked + 1)).long())
    frames = torch.arange(n_frames)
    return (frames >= start[:, None]) & (frames < (start + masked)[:, None])
