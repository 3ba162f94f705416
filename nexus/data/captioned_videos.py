"""Clips with words, as they are and as a video model makes them: what a judge of both learns from.

Axes: N clips, K made clips, M captions, D text width, B batch, F frames, H height, W width.
"""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn import functional as F

GAIN, TINT, NOISE = 0.15, 0.06, 0.04  # most that contrast, each colour and each pixel are off


class CaptionedVideos:
    """Endless batches, drawn by (seed, i): `video` [B, 3, n_frames, H, W] in [-1, 1], `text` [B, 1, D], and `same`
    [B, B], which captions say the same in the same words.

    Clips are softened, tinted and made noisy by chance, since made ones are.

    Args:
        text: mean states of the captions.
        made_share: how often a clip is one of `made`, whose captions are the last of all.
    """

    def __init__(
        self,
        clips: UInt8[np.ndarray, "N F H W 3"],
        made: UInt8[np.ndarray, "K F H W 3"],
        captions: Sequence[str],
        text: Float[Tensor, "M D"],
        *,
        n_frames: int,
        batch_size: int,
        made_share: float,
        seed: int,
    ):
        if len(captions) != len(clips) + len(made) or len(text) != len(captions):
            raise ValueError(
                f"{len(clips)} clips and {len(made)} made ones need as many captions and states, got "
                f"{len(captions)} and {len(text)}"
            )
        self.clips, self.made, self.text = clips, made, text
        self.places = np.linspace(0, clips.shape[1] - 1, n_frames).round().astype(int)
        self.words = np.unique(np.array(captions), return_inverse=True)[1]
        self.batch_size, self.made_share, self.seed = batch_size, made_share, seed

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        rng = np.random.default_rng((self.seed, index))
        of_made = (rng.random(self.batch_size) < self.made_share) & (len(self.made) > 0)
        rows = np.where(
            of_made,
            len(self.clips) + rng.integers(max(len(self.made), 1), size=self.batch_size),
            rng.integers(len(self.clips), size=self.batch_size),
        )
        frames = np.stack([self._frames(row) for row in rows.tolist()])
        words = torch.from_numpy(self.words[rows])
        return {
            "video": self._worn(torch.from_numpy(frames).permute(0, 4, 1, 2, 3) / 127.5 - 1, rng),
            "text": self.text[torch.from_numpy(rows)].float()[:, None],
            "same": words[:, None] == words,
        }

    def _frames(self, row: int) -> UInt8[np.ndarray, "F H W 3"]:
        clip = self.clips[row] if row < len(self.clips) else self.made[row - len(self.clips)]
        return clip[self.places]

    def _worn(self, video: Float[Tensor, "B 3 F H W"], rng: np.random.Generator) -> Float[Tensor, "B 3 F H W"]:
        generator = torch.Generator().manual_seed(int(rng.integers(2**31)))

        def drawn(*shape: int) -> Tensor:
            return torch.rand(shape, generator=generator)

        n = len(video)
        soft = F.avg_pool3d(video, (1, 3, 3), 1, (0, 1, 1), count_include_pad=False)
        video = torch.lerp(video, soft, drawn(n, 1, 1, 1, 1))
        video = video * (1 + GAIN * (2 * drawn(n, 1, 1, 1, 1) - 1)) + TINT * (2 * drawn(n, 3, 1, 1, 1) - 1)
        noise = NOISE * drawn(n, 1, 1, 1, 1) * torch.randn(video.shape, generator=generator)
        return (video + noise).clamp(-1, 1)
