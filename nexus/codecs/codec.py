"""What every codec of sound says of itself and refuses.

Axes: B batch, C channels, L waveform samples.
"""

import math
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn


class Codec(nn.Module):
    """`encode(waveform)` gives codes, `decode(codes)` sound. Its config has `sample_rate`, `hop_length`, `channels`
    where there may be several, and `quantizer`, or the subclass says itself what that would have said."""

    config: Any

    @property
    def sample_rate(self) -> int:
        return self.config.sample_rate

    @property
    def channels(self) -> int:
        """That are coded together."""
        return getattr(self.config, "channels", 1)

    @property
    def hop_length(self) -> int:
        """Samples of a frame."""
        return self.config.hop_length

    @property
    def frame_rate(self) -> float:
        return self.sample_rate / self.hop_length

    @property
    def codebook_size(self) -> int:
        return self.config.quantizer.codebook_size

    @property
    def n_codebooks(self) -> int:
        return self.config.quantizer.n_codebooks

    @property
    def bitrate(self) -> float:
        """Bits per second with all codebooks."""
        return self.bitrate_of(self.n_codebooks)

    def bitrate_of(self, n_codebooks: int) -> float:
        """Bits per second of the first `n_codebooks`, each of which has an equal share, before any entropy coding."""
        return n_codebooks * math.log2(self.codebook_size) * self.frame_rate

    def check_waveform(self, waveform: Float[Tensor, "B C L"]) -> None:
        """Refuses what has no codes.

        Raises:
            ValueError: another number of channels, no samples, or samples that are not finite.
        """
        self.check_samples(waveform)
        if waveform.shape[-1] == 0:
            raise ValueError("an empty waveform has no codes; give at least one sample")

    def check_samples(self, waveform: Float[Tensor, "B C L"]) -> None:
        """`check_waveform` of a chunk, which may be empty."""
        got = waveform.shape[1]
        if got != self.channels:
            takes = "is mono" if self.channels == 1 else f"takes {self.channels} channels"
            hint = "; make them items of the batch: waveform.flatten(0, 1)[:, None]" if self.channels == 1 else ""
            raise ValueError(f"this codec {takes}, got {got} channels{hint}")
        if not waveform.isfinite().all():
            raise ValueError("samples must be finite numbers, got NaN or infinity")
