"""What convolutional codecs that look ahead share: rates, how far a stream stays behind, what they refuse, their start.

Axes: B batch, C channels, L waveform samples, N samples of whole frames.
"""

import math
from typing import Any

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from nexus.nn.chain import Chain
from nexus.nn.look_ahead import needed


class ConvolutionalCodec(nn.Module):
    """Mono; its config has `sample_rate` and `hop_length`. A subclass says `codebook_size` and `n_codebooks`."""

    config: Any
    encoder: Chain
    decoder: Chain

    @property
    def sample_rate(self) -> int:
        return self.config.sample_rate

    @property
    def hop_length(self) -> int:
        return self.config.hop_length

    @property
    def frame_rate(self) -> float:
        return self.sample_rate / self.hop_length

    @property
    def codebook_size(self) -> int:
        return self.config.codebook_size

    @property
    def n_codebooks(self) -> int:
        return self.config.n_codebooks

    @property
    def bitrate(self) -> float:
        """Bits per second of all codebooks; each has an equal share."""
        return self.n_codebooks * math.log2(self.codebook_size) * self.frame_rate

    @property
    def encoder_look_ahead(self) -> int:
        """Samples after a frame's own that a stream waits for before it gives the frame's codes."""
        return needed(self.encoder, 1) - self.hop_length

    @property
    def decoder_look_ahead(self) -> int:
        """Frames that a stream waits for before it has given all samples of a frame."""
        return needed(self.decoder, self.hop_length) - 1

    @property
    def look_ahead(self) -> int:
        """Samples that a streamed reconstruction stays behind, encoder and decoder together."""
        return self.encoder_look_ahead + self.decoder_look_ahead * self.hop_length

    def whole_frames(self, waveform: Float[Tensor, "B C L"]) -> Float[Tensor, "B 1 N"]:
        """Filled with zeros up to the end of its last frame.

        Raises:
            ValueError: several channels, or no samples.
        """
        if waveform.shape[1] != 1:
            raise ValueError(
                f"this codec is mono, got {waveform.shape[1]} channels; make them items of the batch: "
                "waveform.flatten(0, 1)[:, None]"
            )
        if waveform.shape[-1] == 0:
            raise ValueError("an empty waveform has no codes; give at least one sample")
        return F.pad(waveform, (0, -waveform.shape[-1] % self.hop_length))

    def check_length(self, n_frames: int, length: int | None) -> None:
        """Refuses to cut more samples out of frames than they hold."""
        most = n_frames * self.hop_length
        if length is not None and not 0 <= length <= most:
            raise ValueError(f"{n_frames} frames hold up to {most} samples, got length {length}")


def start_without_bias(network: nn.Module) -> None:
    """Zeroes the biases of convolutions, not of transposed ones, as DAC and FACodec are published.

    A bias is the same in every frame: with torch's random ones a fresh encoder gives nearly one latent for all frames,
    its codebooks fall to few codes (of 256 of a small DAC 2 to 12, without biases 67 to 132), and may stay there.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv1d) and module.bias is not None:
            nn.init.zeros_(module.bias)
