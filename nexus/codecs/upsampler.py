"""Vocoders that upsample mel frames: what HiFi-GAN (arXiv:2010.05646) and BigVGAN (arXiv:2206.04658) share.

Each stage is a transposed convolution and then the mean of residual blocks with different kernels and dilations
("multi-receptive-field fusion", HiFi-GAN, section 2.2). The two differ in activations and in the waveform's bounds.
Axes: B batch, M mel bins, T frames, D width, L waveform samples.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils import parametrize

from nexus.media.features import MelConfig, log_mel
from nexus.nn.branches import Mean
from nexus.nn.chain import Chain, Residual
from nexus.nn.conv import Conv1d, ConvTranspose1d
from nexus.nn.look_ahead import needed

Activation = Callable[[int], nn.Module]  # of so many channels
MEL_WEIGHT = 45.0  # of the mel distance beside adversarial losses (HiFi-GAN, eq. 6)


@dataclass(frozen=True, kw_only=True)
class UpsamplerConfig:
    dim: int = 512  # halves at each stage
    ratios: tuple[int, ...] = (8, 8, 2, 2)
    kernel_sizes: tuple[int, ...] = (16, 16, 4, 4)  # of the transposed convolutions
    block_kernel_sizes: tuple[int, ...] = (3, 7, 11)
    dilations: tuple[tuple[int, ...], ...] = ((1, 3, 5), (1, 3, 5), (1, 3, 5))  # a block's, one residual layer each
    paired: bool = True  # a convolution without dilation follows each dilated one; not so in HiFi-GAN v3
    weight_norm: bool = False  # for training; official weights load with it folded

    def __post_init__(self):
        if not self.ratios or len(self.ratios) != len(self.kernel_sizes):
            raise ValueError(f"every ratio needs a kernel size, got {self.ratios} and {self.kernel_sizes}")
        for ratio, kernel_size in zip(self.ratios, self.kernel_sizes, strict=True):
            if kernel_size < ratio or (kernel_size - ratio) % 2:
                raise ValueError(
                    f"a kernel must exceed its ratio by an even number to be cut equally on both sides, got "
                    f"{kernel_size} for {ratio}; {2 * ratio} is usual"
                )
        if not self.block_kernel_sizes or len(self.block_kernel_sizes) != len(self.dilations):
            raise ValueError(f"every block needs dilations, got {self.block_kernel_sizes} and {self.dilations}")
        if any(kernel_size % 2 == 0 for kernel_size in self.block_kernel_sizes):
            raise ValueError(f"block_kernel_sizes must be odd to keep the length, got {self.block_kernel_sizes}")
        if self.dim % 2 ** len(self.ratios):
            n = len(self.ratios)
            raise ValueError(f"dim must be divisible by {2**n}, as it halves {n} times, got {self.dim}")

    @property
    def hop_length(self) -> int:
        return math.prod(self.ratios)

    @property
    def last_dim(self) -> int:
        return self.dim >> len(self.ratios)


def residual_block(config: UpsamplerConfig, dim: int, branch: int, activation: Activation) -> Chain:
    """Residual layers with one kernel and growing dilations."""
    kernel_size, norm = config.block_kernel_sizes[branch], config.weight_norm
    layers = []
    for dilation in config.dilations[branch]:
        inner = [activation(dim), Conv1d(dim, dim, kernel_size, dilation=dilation, weight_norm=norm)]
        if config.paired:
            inner += [activation(dim), Conv1d(dim, dim, kernel_size, weight_norm=norm)]
        layers.append(Residual(*inner))
    return Chain(*layers)


def upsampler(config: UpsamplerConfig, n_mels: int, *, before: Activation, within: Activation, end: Chain) -> Chain:
    """Mel frames [B, M, T] through a convolution, the stages, and `end`, to [B, 1, L].

    Args:
        before: the activation before a stage's transposed convolution.
        within: those of residual blocks.
        end: from the last width to the waveform.
    """
    dim, norm = config.dim, config.weight_norm
    stages: list[nn.Module] = []
    for ratio, kernel_size in zip(config.ratios, config.kernel_sizes, strict=True):
        up = ConvTranspose1d(dim, dim // 2, kernel_size, stride=ratio, weight_norm=norm)
        blocks = [residual_block(config, dim // 2, i, within) for i in range(len(config.dilations))]
        stages.append(Chain(before(dim), up, Mean(*blocks)))
        dim //= 2
    return Chain(Conv1d(n_mels, config.dim, 7, weight_norm=norm), *stages, end)


class UpsamplingVocoder(nn.Module):
    """A generator of waveforms with the mel spectrogram that it takes."""

    def __init__(self, mel: MelConfig, generator: Chain):
        super().__init__()
        self.mel, self.generator = mel, generator

    @property
    def sample_rate(self) -> int:
        return self.mel.sample_rate

    @property
    def hop_length(self) -> int:
        return self.mel.hop_length

    @property
    def frame_rate(self) -> float:
        return self.sample_rate / self.hop_length

    @property
    def look_ahead(self) -> int:
        """Frames that a stream waits for before it gives the samples of a frame."""
        return needed(self.generator, self.hop_length) - 1

    def features(self, waveform: Float[Tensor, "B 1 L"]) -> Float[Tensor, "B M T"]:
        """The log-mel frames that `decode` takes."""
        if waveform.shape[1] != 1:
            raise ValueError(
                f"a vocoder's mel is of one channel, got {waveform.shape[1]}; make them items of the batch: "
                "waveform.flatten(0, 1)[:, None]"
            )
        return log_mel(waveform[:, 0], self.mel)

    def forward(self, mel: Float[Tensor, "B M T"]) -> Float[Tensor, "B 1 L"]:
        return self.generator(self._checked(mel))

    def _checked(self, mel: Tensor) -> Tensor:
        if mel.shape[1] != self.mel.n_mels:
            raise ValueError(f"this vocoder takes {self.mel.n_mels} mel bins [B, M, T], got {list(mel.shape)}")
        return mel

    @torch.inference_mode()
    def decode(self, mel: Float[Tensor, "B M T"]) -> Float[Tensor, "B 1 L"]:
        """Waveform of T hop samples.

        Raises:
            ValueError: mel frames that are not finite, which would make such a waveform, or of another number of bins.
        """
        if not mel.isfinite().all():
            raise ValueError("mel frames must be finite numbers, got NaN or infinity")
        return self(mel) if mel.shape[-1] else self._checked(mel).new_zeros(mel.shape[0], 1, 0)

    def loss(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """What adversarial losses are added to, 45 times the mel distance; batch["waveform"] is [B, 1, L].

        The distance sees all frequencies, also where the vocoder is not told those above `mel.f_max`.
        """
        waveform = batch["waveform"]
        output = self(self.features(waveform))
        return self.losses(output, waveform[..., : output.shape[-1]])

    def losses(self, output: Float[Tensor, "B 1 L"], waveform: Float[Tensor, "B 1 L"]) -> dict[str, Tensor]:
        """`loss` of an output that is there already, as adversarial training has it."""
        heard = replace(self.mel, f_max=None)
        distance = F.l1_loss(log_mel(output[:, 0], heard), log_mel(waveform[:, 0], heard))
        return {"loss": MEL_WEIGHT * distance, "mel": distance.detach()}

    @contextmanager
    def streaming(self) -> Iterator["VocoderStream"]:
        """`with vocoder.streaming() as s: s.decode(chunk) ...`: chunks together equal the whole.

        The output stays `look_ahead` frames behind; pass `last=True` with the last chunk.
        """
        with torch.inference_mode(), parametrize.cached():
            yield VocoderStream(self)

    def stream(
        self, mel: Float[Tensor, "B M T"], state: Any, last: bool = False
    ) -> tuple[Float[Tensor, "B 1 L"], list[Any]]:
        """Samples that no later frame changes; `last` gives the rest. No state: the start."""
        return self.generator.stream(self._checked(mel), state, last)


class VocoderStream:
    """Decodes mel frames chunk by chunk."""

    def __init__(self, vocoder: UpsamplingVocoder):
        self.vocoder, self.state = vocoder, None

    def decode(self, mel: Float[Tensor, "B M T"], *, last: bool = False) -> Float[Tensor, "B 1 L"]:
        waveform, self.state = self.vocoder.stream(mel, self.state, last)
        return waveform
