"""BigVGAN's official layout: `config.json` beside `bigvgan_generator.pt` (or `g_05000000`, as training wrote it)."""

from collections.abc import Mapping
from typing import Any

import torch

from nexus.codecs.bigvgan import ACTIVATIONS, BigVGAN, BigVGANConfig
from nexus.hub import upsampler
from nexus.hub.source import Source
from nexus.hub.tensors import State, drop, fold_weight_norm, load_strict, read_tensors, rename
from nexus.nn.alias_free import half_band

_FILTERS = r"\.(upsample|downsample\.lowpass)\.filter$"


def recognise(source: Source) -> bool:
    values = upsampler.description(source)
    return "upsample_rates" in values and "activation" in values and "snake_logscale" in values


def kind(source: Source) -> str:
    return BigVGAN.__name__


def load(source: Source) -> BigVGAN:
    path = upsampler.generator_file(source)
    if path is None:
        raise FileNotFoundError(f"{source.name}: no weights; expected bigvgan_generator.pt, g_05000000 or the like")
    values = upsampler.description(source)
    config, log_scale = config_from_original(values, source.name), bool(values["snake_logscale"])
    return build(config, read_tensors(path), str(path), log_scale=log_scale)


def build(config: BigVGANConfig, tensors: State, where: str, *, log_scale: bool = True) -> BigVGAN:
    """The vocoder with `tensors` under their original names in it.

    Args:
        log_scale: the activations' parameters are stored as logarithms.
    """
    _check_filters(tensors, where)
    state = fold_weight_norm(drop(tensors, _FILTERS))
    of_activations = {name for name in state if name.endswith((".act.alpha", ".act.beta"))}
    state |= {name: _parameter(state[name], config.activation, log_scale, where) for name in of_activations}
    model = BigVGAN(config)
    load_strict(model, rename(state, rules(config)), where)
    return model


def _parameter(values: torch.Tensor, activation: str, log_scale: bool, where: str) -> torch.Tensor:
    """As ours: Snake's as they are [1, D, 1], SnakeBeta's as logarithms [D]."""
    if activation == "snake":
        return (values.exp() if log_scale else values)[None, :, None]
    if not log_scale and (values <= 0).any():
        raise ValueError(f"{where}: alphas and betas of SnakeBeta must be positive where they are not logarithms")
    return values if log_scale else values.log()


def _check_filters(tensors: State, where: str) -> None:
    """The filters are the same in every checkpoint and not kept; others would sound wrong, so they are refused."""
    filters = [(name, tensor) for name, tensor in tensors.items() if name.endswith(".filter")]
    for name, tensor in filters:
        if tensor.numel() != len(half_band()) or (tensor.flatten().double() - half_band()).abs().max() > 1e-3:
            raise ValueError(f"{where}: {name} is not the 12-tap Kaiser filter of BigVGAN; other filters are not known")


def rules(config: BigVGANConfig) -> list[tuple[str, str]]:
    end = len(config.upsampler.ratios) + 1
    n_layers = max(len(row) for row in config.upsampler.dilations)
    per_layer = 2 if config.upsampler.paired else 1
    activations = [
        (rf"\.activations\.{per_layer * layer + i}\.act\.", f".layers.{layer}.layers.{2 * i}.activation.")
        for layer in range(n_layers)
        for i in range(per_layer)
    ]
    post = (r"^activation_post\.act\.", f"generator.layers.{end}.layers.0.activation.")
    return [*activations, post, *upsampler.rules(config.upsampler)]


def config_from_original(values: Mapping[str, Any], where: str) -> BigVGANConfig:
    if values["activation"] not in ACTIVATIONS:
        raise ValueError(f"{where}: activation must be {' or '.join(ACTIVATIONS)}, got {values['activation']!r}")
    return BigVGANConfig(
        mel=upsampler.mel_config(values, where),
        upsampler=upsampler.upsampler_config(values, where),
        activation=values["activation"],
        bound="tanh" if values.get("use_tanh_at_final", True) else "clamp",
        last_bias=values.get("use_bias_at_final", True),
    )
