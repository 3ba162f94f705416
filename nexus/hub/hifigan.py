"""HiFi-GAN's layouts: its authors' `config.json` beside `generator_v1` or `g_02500000`, and transformers folders.

A transformers folder (`microsoft/speecht5_hifigan`) keeps means and scales of its mel bins; its weights, like the
originals', may be split into sizes and directions in either of torch's spellings.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from nexus.codecs.hifigan import SLOPE, HiFiGAN, HiFiGANConfig
from nexus.hub import upsampler
from nexus.hub.source import Source
from nexus.hub.tensors import State, drop, fold_weight_norm, load_strict, read_tensors, rename
from nexus.media.features import MelConfig

TRANSFORMERS_RULES = ((r"^upsampler\.", "ups."), (r"^(mean|scale)$", r"standardise.\1"))
_TRANSFORMERS = ("hifigan", "speecht5_hifigan")  # the published folder's, and what transformers 5 writes


def recognise(source: Source) -> bool:
    if source.config.get("model_type") in _TRANSFORMERS:
        return True
    values = upsampler.description(source)
    # BigVGAN's configs are HiFi-GAN's with an activation.
    return "upsample_rates" in values and "hop_size" in values and "activation" not in values


def kind(source: Source) -> str:
    return HiFiGAN.__name__


def load(source: Source) -> HiFiGAN:
    if source.config.get("model_type") in _TRANSFORMERS:
        config = config_from_transformers(source.config, source.name)
        state = rename(read_tensors(source), TRANSFORMERS_RULES)
        return build(config, state if config.standardised else drop(state, r"^standardise\."), source.name)
    path = upsampler.generator_file(source)
    if path is None:
        raise FileNotFoundError(f"{source.name}: no weights; expected generator_v1, g_02500000 or the like")
    return build(config_from_original(upsampler.description(source), source.name), read_tensors(path), str(path))


def build(config: HiFiGANConfig, tensors: State, where: str) -> HiFiGAN:
    """The vocoder with `tensors` under their original names in it."""
    model = HiFiGAN(config)
    load_strict(model, rename(fold_weight_norm(tensors), upsampler.rules(config.upsampler)), where)
    return model


def config_from_original(values: Mapping[str, Any], where: str) -> HiFiGANConfig:
    mel, network = upsampler.mel_config(values, where), upsampler.upsampler_config(values, where)
    return HiFiGANConfig(mel=mel, upsampler=network)


def config_from_transformers(values: Mapping[str, Any], where: str) -> HiFiGANConfig:
    """Our config of a transformers `config.json`, which does not say what mel it is for: SpeechT5's is taken."""
    if values.get("leaky_relu_slope", SLOPE) != SLOPE:
        raise ValueError(f"{where}: leaky_relu_slope must be {SLOPE}, got {values['leaky_relu_slope']}")
    network = upsampler.upsampler_config(values, where)
    mel = replace(
        MelConfig.speecht5(),
        sample_rate=values.get("sampling_rate", 16000),
        n_mels=values.get("model_in_dim", 80),
        hop_length=network.hop_length,
    )
    return HiFiGANConfig(mel=mel, upsampler=network, standardised=values.get("normalize_before", True))
