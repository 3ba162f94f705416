"""SEANet (arXiv:2009.02095, as in EnCodec, arXiv:2210.13438): a convolutional encoder and decoder of waveforms.

Strided convolutions between residual blocks, an LSTM before the latent where there is one; the decoder mirrors it.
Axes: B batch, C channels, L waveform samples, D width, T frames.
"""

import math
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils import parametrize

from nexus.nn.conv import LSTM, Conv1d, ConvTranspose1d, PadMode
from nexus.nn.layout import joined


@dataclass(frozen=True, kw_only=True)
class SEANetConfig:
    """The autoencoder; widths double from `n_filters` at each stage towards the latent."""

    n_filters: int = 32
    ratios: tuple[int, ...] = (8, 5, 4, 2)  # strides of the decoder; the encoder has them reversed
    n_residual_layers: int = 1
    kernel_size: int = 7
    last_kernel_size: int = 7
    residual_kernel_size: int = 3
    dilation_base: int = 2
    compress: int = 2  # residual branches are this much narrower
    conv_shortcut: bool = True
    n_lstm_layers: int = 2
    causal: bool = True
    pad_mode: PadMode = "reflect"
    trim_right_ratio: float = 1.0
    weight_norm: bool = True
    group_norm: bool = False  # of each layer's whole output

    def __post_init__(self):
        if self.pad_mode not in ("reflect", "constant"):
            raise ValueError(f"pad_mode must be 'reflect' or 'constant', got {self.pad_mode!r}")
        if self.trim_right_ratio != 1 and not self.causal:
            raise ValueError("trim_right_ratio other than 1 is for causal codecs only")
        if self.group_norm and (self.causal or self.weight_norm):
            raise ValueError("group_norm looks at all of time: set causal and weight_norm to False with it")

    @property
    def hop_length(self) -> int:
        return math.prod(self.ratios)


class ResidualBlock(nn.Module):
    """A narrower convolution and one back, beside a shortcut."""

    def __init__(self, config: SEANetConfig, dim: int, dilation: int):
        super().__init__()
        hidden = dim // config.compress
        self.block = nn.ModuleList(
            [
                nn.ELU(),
                _conv(config, dim, hidden, config.residual_kernel_size, dilation=dilation),
                nn.ELU(inplace=True),
                _conv(config, hidden, dim, 1),
            ]
        )
        self.shortcut = _conv(config, dim, dim, 1) if config.conv_shortcut else nn.Identity()

    def forward(self, x: Float[Tensor, "B D T"]) -> Float[Tensor, "B D T"]:
        return self.shortcut(x) + run(self.block, x)

    def stream(self, x: Float[Tensor, "B D T"], state: Any, last: bool = False) -> tuple[Float[Tensor, "B D U"], Any]:
        waiting, inner = (x, None) if state is None else (joined(state[0], x), state[1])
        y, inner = stream(self.block, x, inner, last)
        n = y.shape[-1]
        return self.shortcut(waiting[..., :n]) + y, (waiting[..., n:].clone(), inner)


def _conv(config: SEANetConfig, c_in: int, c_out: int, kernel_size: int, **options: int) -> Conv1d:
    return Conv1d(
        c_in,
        c_out,
        kernel_size,
        causal=config.causal,
        pad_mode=config.pad_mode,
        weight_norm=config.weight_norm,
        group_norm=config.group_norm,
        **options,  # type: ignore[arg-type]
    )


def run(layers: nn.ModuleList, x: Tensor) -> Tensor:
    for layer in layers:
        x = layer(x)
    return x


def stream(layers: nn.ModuleList, x: Tensor, states: list[Any] | None, last: bool) -> tuple[Tensor, list[Any]]:
    """`run` on a chunk: layers without memory are called, the others take and give their states."""
    states = list(states or [None] * len(layers))
    for i, layer in enumerate(layers):
        if isinstance(layer, nn.ELU):
            x = layer(x)
        else:
            x, states[i] = layer.stream(x, states[i], last)  # type: ignore[operator]
    return x, states


def encoder_layers(seanet: SEANetConfig, channels: int, latent_dim: int) -> nn.ModuleList:
    """Waveform [B, C, L] to latent [B, D, T]."""
    dim = seanet.n_filters
    layers: list[nn.Module] = [_conv(seanet, channels, dim, seanet.kernel_size)]
    for ratio in reversed(seanet.ratios):
        layers += [ResidualBlock(seanet, dim, seanet.dilation_base**j) for j in range(seanet.n_residual_layers)]
        layers += [nn.ELU(inplace=True), _conv(seanet, dim, 2 * dim, 2 * ratio, stride=ratio)]
        dim *= 2
    layers += [LSTM(dim, seanet.n_lstm_layers)] if seanet.n_lstm_layers else []
    layers += [nn.ELU(inplace=True), _conv(seanet, dim, latent_dim, seanet.last_kernel_size)]
    return nn.ModuleList(layers)


def decoder_layers(seanet: SEANetConfig, channels: int, latent_dim: int) -> nn.ModuleList:
    """Latent [B, D, T] to waveform [B, C, L]."""
    dim = seanet.n_filters * 2 ** len(seanet.ratios)
    layers: list[nn.Module] = [_conv(seanet, latent_dim, dim, seanet.kernel_size)]
    layers += [LSTM(dim, seanet.n_lstm_layers)] if seanet.n_lstm_layers else []
    for ratio in seanet.ratios:
        up = ConvTranspose1d(
            dim,
            dim // 2,
            2 * ratio,
            stride=ratio,
            causal=seanet.causal,
            trim_right_ratio=seanet.trim_right_ratio,
            weight_norm=seanet.weight_norm,
            group_norm=seanet.group_norm,
        )
        dim //= 2
        layers += [nn.ELU(inplace=True), up]
        layers += [ResidualBlock(seanet, dim, seanet.dilation_base**j) for j in range(seanet.n_residual_layers)]
    layers += [nn.ELU(inplace=True), _conv(seanet, dim, channels, seanet.last_kernel_size)]
    return nn.ModuleList(layers)


@torch.no_grad()
def keep_variance(conv: nn.Conv1d | nn.ConvTranspose1d) -> None:
    """Normal weights that pass unit variance on; PyTorch's own would fade to nothing over the whole depth."""
    c_out, c_in, kernel_size = conv.weight.shape
    if isinstance(conv, nn.ConvTranspose1d):
        c_in, kernel_size = c_out, kernel_size // conv.stride[0]
    weight = torch.randn_like(conv.weight) * (c_in * kernel_size) ** -0.5
    if parametrize.is_parametrized(conv):
        conv.weight = weight  # type: ignore[assignment]  # split into size and direction
    else:
        conv.weight.copy_(weight)
    assert conv.bias is not None
    conv.bias.zero_()


class Coder(nn.Module):
    """Encoder or decoder: its layers in turn."""

    def __init__(self, layers: nn.ModuleList):
        super().__init__()
        self.layers = layers

    def forward(self, x: Float[Tensor, "B C L"]) -> Float[Tensor, "B D T"]:
        return run(self.layers, x)
