"""Contrastive language-audio pretraining (CLAP, arXiv:2211.06687): how well sounds fit words.

Both become vectors of unit norm, whose products are high for a sound and its caption. The text tower reads the states
of a frozen text encoder; the audio tower is small: convolutions over log-mels, and beside them what excerpts of a few
frames don't show, how strong each semitone is over the whole (key) and what repeats after which time (tempo).
Axes: B sounds, N texts, L waveform samples, M mel bands, T frames, R text positions, W text width, D vectors' width.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

from nexus.media.audio import Audio
from nexus.media.features import MelConfig, log_mel, stft

LOWEST = 27.5  # Hz, an A
FLOOR = 1e-4
SPREAD = 3.0  # about that of log-mels


@dataclass(frozen=True, kw_only=True)
class ClapConfig:
    mel: MelConfig = field(default_factory=lambda: MelConfig(n_mels=64, hop_length=512, clamp=1e-4))
    width: int = 128
    n_blocks: int = 4  # each halves the frames
    semitones: int = 96
    pitch_n_fft: int = 8192
    rhythm_bands: int = 8
    rhythm_lags: int = 128  # frames
    text_dim: int = 384
    dim: int = 128
    dropout: float = 0.1


class Block(nn.Module):
    """A residual convolution, then half of the frames."""

    def __init__(self, width: int):
        super().__init__()
        self.norm = nn.GroupNorm(8, width)
        self.conv = nn.Conv1d(width, width, 3, padding=1)
        self.out = nn.Conv1d(width, width, 1)

    def forward(self, x: Float[Tensor, "B C T"]) -> Float[Tensor, "B C U"]:
        return F.avg_pool1d(x + self.out(F.gelu(self.conv(self.norm(x)))), 2, ceil_mode=True)


class AudioTower(nn.Module):
    def __init__(self, config: ClapConfig):
        super().__init__()
        self.config = config
        width, bands = config.width, config.rhythm_bands
        self.stem = nn.Conv1d(config.mel.n_mels, width, 5, padding=2)
        self.blocks = nn.ModuleList(Block(width) for _ in range(config.n_blocks))
        self.pitch = nn.Linear(config.semitones, width)
        self.rhythm = nn.Linear(bands * config.rhythm_lags, width)
        self.mix = nn.Sequential(
            nn.LayerNorm(5 * width),
            nn.Dropout(config.dropout),
            nn.Linear(5 * width, 2 * width),
            nn.GELU(),
            nn.Linear(2 * width, config.dim),
        )

    def forward(self, waveform: Float[Tensor, "B L"]) -> Float[Tensor, "B D"]:
        dtype = self.stem.weight.dtype
        waveform = F.pad(waveform, (0, max(0, self.config.pitch_n_fft - waveform.shape[1])))
        with torch.autocast(waveform.device.type, enabled=False):
            mel = log_mel(waveform, self.config.mel)
            pitch, rhythm = self.semitones(waveform.float()).to(dtype), self.lags(mel).to(dtype)
        x = self.stem((mel - mel.mean((1, 2), keepdim=True)).to(dtype) / SPREAD)
        for block in self.blocks:
            x = block(x)
        pooled = torch.cat([x.mean(2), x.amax(2), x.std(2, correction=0)], dim=1)
        return self.mix(torch.cat([pooled, self.pitch(pitch), self.rhythm(rhythm)], dim=1))

    def semitones(self, waveform: Float[Tensor, "B L"]) -> Float[Tensor, "B S"]:
        """Log of each semitone's mean magnitude, from 27.5 Hz up, against the mean of them all."""
        c = self.config
        magnitude = stft(waveform, c.pitch_n_fft, c.pitch_n_fft // 4, c.pitch_n_fft, 0).abs().mean(2)
        bins = torch.arange(1, magnitude.shape[1], device=waveform.device) * c.mel.sample_rate / c.pitch_n_fft
        distance = 12 * torch.log2(bins / LOWEST) - torch.arange(c.semitones, device=waveform.device)[:, None]
        near = (1 - distance.abs()).clamp(min=0)
        near = near / near.sum(1, keepdim=True).clamp(min=1e-3)  # the lowest semitones may have no bin
        loudness = (magnitude[:, 1:] @ near.T + FLOOR).log()
        return loudness - loudness.mean(1, keepdim=True)

    def lags(self, mel: Float[Tensor, "B M T"]) -> Float[Tensor, "B K"]:
        """Autocorrelation of the onsets in a few bands, from a lag of one frame up."""
        c = self.config
        onsets = F.adaptive_avg_pool1d(mel.diff(dim=2).clamp(min=0).mT, c.rhythm_bands).mT
        onsets = onsets - onsets.mean(2, keepdim=True)
        n = 2 * max(onsets.shape[2], c.rhythm_lags + 1)  # so that the end is not beside the beginning
        alike = torch.fft.irfft(torch.fft.rfft(onsets, n).abs().square(), n)
        return (alike[..., 1 : c.rhythm_lags + 1] / alike[..., :1].clamp(min=FLOOR)).flatten(1)


class Clap(nn.Module):
    """`text_encoder` completes the network; `nexus.load` attaches it."""

    text_encoder: Callable[[list[str]], tuple[Tensor, Tensor]]  # states [B, R, W] and mask [B, R]

    def __init__(self, config: ClapConfig):
        super().__init__()
        self.config = config
        self.audio = AudioTower(config)
        self.text = nn.Sequential(
            nn.Linear(config.text_dim, 2 * config.width),
            nn.GELU(),
            nn.Dropout(config.dropout),
            nn.Linear(2 * config.width, config.dim),
        )
        self.log_scale = nn.Parameter(torch.tensor(2.66))  # of 1 / 0.07, as CLIP's (arXiv:2103.00020)

    def hear(self, waveform: Float[Tensor, "B L"]) -> Float[Tensor, "B D"]:
        """Vectors of unit norm of mono sounds at `config.mel.sample_rate`; short ones are continued with silence."""
        return F.normalize(self.audio(waveform), dim=1)

    def read(self, states: Float[Tensor, "N R W"], mask: Bool[Tensor, "N R"]) -> Float[Tensor, "N D"]:
        """Vectors of unit norm of texts, from the encoder's states."""
        mean = (states * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
        return F.normalize(self.text(mean), dim=1)

    def scores(
        self, waveform: Float[Tensor, "B L"], states: Float[Tensor, "N R W"], mask: Bool[Tensor, "N R"]
    ) -> Float[Tensor, "B N"]:
        """Products of all vectors, sharpened as learnt."""
        return self.log_scale.exp().clamp(max=100) * self.hear(waveform) @ self.read(states, mask).T

    @staticmethod
    def contrast(scores: Float[Tensor, "B B"], same: Bool[Tensor, "B B"]) -> Float[Tensor, ""]:
        """Symmetric cross-entropy of which text belongs to which sound; `same` texts are equally right."""
        right = same / same.sum(1, keepdim=True)
        return (F.cross_entropy(scores, right) + F.cross_entropy(scores.T, right)) / 2

    @torch.inference_mode()
    def similarity(self, sounds: Sequence[Audio], prompts: Sequence[str]) -> Float[Tensor, " B"]:
        """How well each sound, of any rate and channels, fits its prompt, from -1 to 1.

        Raises:
            ValueError: unequal counts, or none.
        """
        if not sounds or len(sounds) != len(prompts):
            raise ValueError(f"each sound needs its prompt, got {len(sounds)} sounds and {len(prompts)} prompts")
        return (self.embed_sounds(sounds) * self.embed_texts(prompts)).sum(1)

    @torch.inference_mode()
    def embed_sounds(self, sounds: Sequence[Audio]) -> Float[Tensor, "B D"]:
        """Vectors of unit norm of sounds of any rate and channels, in float32."""
        device, rate = self.log_scale.device, self.config.mel.sample_rate
        return torch.cat([self.hear(s.mono().resample(rate).tensor().to(device)).float() for s in sounds])

    @torch.inference_mode()
    def embed_texts(self, prompts: Sequence[str]) -> Float[Tensor, "N D"]:
        """Vectors of unit norm of texts, in float32."""
        states, mask = self.text_encoder(list(prompts))
        return self.read(states.to(self.log_scale), mask.to(self.log_scale.device)).float()
