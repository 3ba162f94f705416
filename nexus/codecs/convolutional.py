"""What convolutional codecs that look ahead share: how far a stream stays behind, whole frames, their start.

Axes: B batch, C channels, L waveform samples, N samples of whole frames.
"""

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from nexus.codecs.codec import Codec
from nexus.nn.chain import Chain
from nexus.nn.look_ahead import needed


class ConvolutionalCodec(Codec):
    """Mono; its config says `codebook_size` and `n_codebooks`, or the subclass."""

    encoder: Chain
    decoder: Chain

    @property
    def codebook_size(self) -> int:
        return self.config.codebook_size

    @property
    def n_codebooks(self) -> int:
        return self.config.n_codebooks

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
            ValueError: what has no codes (`check_waveform`).
        """
        self.check_waveform(waveform)
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
