"""Contrastive video-text pretraining, after VideoCLIP (arXiv:2109.14084), with a small tower of our own.

A few frames, evenly from all over the clip and one above another as channels, so that what moves which way is seen by
the first convolution.
Axes: B clips, N texts, T frames, C channels, H height, W width, R text positions, E text width, D vectors' width.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

from nexus.media.video import Video
from nexus.models.contrastive import Contrastive


@dataclass(frozen=True, kw_only=True)
class VideoCLIPConfig:
    frames: int = 4
    size: int = 64  # pixels of a side; clips of other sizes are resized
    width: int = 128
    n_blocks: int = 3
    text_dim: int = 384
    dim: int = 128
    dropout: float = 0.1


class Block(nn.Module):
    """Two convolutions and what went in; the first of them over each channel alone, in a wide neighbourhood."""

    def __init__(self, width: int):
        super().__init__()
        self.spread = nn.Conv2d(width, width, 5, padding=2, groups=width)
        self.norm = nn.GroupNorm(8, width)
        self.up = nn.Conv2d(width, 2 * width, 1)
        self.down = nn.Conv2d(2 * width, width, 1)

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
        return x + self.down(F.gelu(self.up(self.norm(self.spread(x)))))


class VideoTower(nn.Module):
    def __init__(self, config: VideoCLIPConfig):
        super().__init__()
        width = config.width
        self.stem = nn.Sequential(
            nn.Conv2d(3 * config.frames, width // 2, 5, stride=2, padding=2),
            nn.GELU(),
            nn.GroupNorm(8, width // 2),
            nn.Conv2d(width // 2, width, 3, stride=2, padding=1),
        )
        self.blocks = nn.Sequential(*(Block(width) for _ in range(config.n_blocks)))
        self.further = nn.Conv2d(width, 2 * width, 3, stride=2, padding=1)
        self.last = nn.Sequential(Block(2 * width), nn.GroupNorm(8, 2 * width))
        self.mix = nn.Sequential(nn.LayerNorm(4 * width), nn.Dropout(config.dropout), nn.Linear(4 * width, config.dim))

    def forward(self, pictures: Float[Tensor, "B C H W"]) -> Float[Tensor, "B D"]:
        x = self.last(self.further(self.blocks(self.stem(pictures))))
        return self.mix(torch.cat([x.mean((2, 3)), x.amax((2, 3))], dim=1))


class VideoCLIP(Contrastive):
    def __init__(self, config: VideoCLIPConfig):
        super().__init__(config.text_dim, 2 * config.width, config.dim, config.dropout)
        self.config = config
        self.video = VideoTower(config)

    def see(self, clips: Float[Tensor, "B 3 T H W"]) -> Float[Tensor, "B D"]:
        """Vectors of unit norm of clips in [-1, 1], of any size and number of frames."""
        n, size = self.config.frames, self.config.size
        places = torch.linspace(0, clips.shape[2] - 1, n, device=clips.device).round().long()
        pictures = rearrange(clips[:, :, places], "b c t h w -> b (t c) h w")
        if pictures.shape[2:] != (size, size):
            pictures = F.interpolate(pictures, (size, size), mode="bilinear", antialias=True)
        return F.normalize(self.video(pictures.to(self.log_scale.dtype)), dim=1)

    def scores(
        self, clips: Float[Tensor, "B 3 T H W"], states: Float[Tensor, "N R E"], mask: Bool[Tensor, "N R"]
    ) -> Float[Tensor, "B N"]:
        """How well each clip fits each text."""
        return self.products(self.see(clips), self.read(states, mask))

    @torch.inference_mode()
    def similarity(self, clips: Sequence[Video], prompts: Sequence[str]) -> Float[Tensor, " B"]:
        """How well each clip fits its prompt, from -1 to 1.

        Raises:
            ValueError: unequal counts, or none.
        """
        if not clips or len(clips) != len(prompts):
            raise ValueError(f"each clip needs its prompt, got {len(clips)} clips and {len(prompts)} prompts")
        device = self.log_scale.device
        return self.fits(torch.cat([self.see(clip.tensor()[None].to(device)) for clip in clips]), prompts)
