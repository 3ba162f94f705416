"""NeMo's audio codecs: one `.nemo` archive (`nvidia/audio-codec-44khz`, `nvidia/low-frame-rate-speech-codec-22khz`).

The configuration in the archive decides all sizes. What only training needs is dropped by name: discriminators, a
speaker encoder, and the windows and filters of losses.
"""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from nexus.codecs.fsq_codec import FSQCodec, FSQCodecConfig, HalfConfig
from nexus.hub.nemo_archive import read_config, read_weights, section
from nexus.hub.source import Source
from nexus.hub.tensors import State, drop, fold_weight_norm, load_strict, rename
from nexus.nn.fsq import FSQConfig

LEFTOVERS = (r"^discriminator\.", r"^speaker_encoder\.", r"^(mel|stft|si_sdr|time_domain)_loss_fn\.")
MOST_STAGES = 16
_CLASSES = {
    "audio_encoder": "HiFiGANEncoder",
    "audio_decoder": "HiFiGANDecoder",
    "vector_quantizer": "GroupFiniteScalarQuantizer",
}
_KNOWN = {
    "audio_encoder": {"encoded_dim", "down_sample_rates", "base_channels"},
    "audio_decoder": {"input_dim", "up_sample_rates", "base_channels", "output_activation"},
}
_SHARED = {
    "in_kernel_size": ("first_kernel_size", 7),
    "resblock_kernel_sizes": ("kernel_sizes", (3, 7, 11)),
    "resblock_dilation_sizes": ("dilations", (1, 3, 5)),
    "activation": ("activation", "lrelu"),
    "pad_mode": ("pad_mode", "reflect"),
}


def recognise(source: Source) -> bool:
    return source.path.suffix == ".nemo" or (not source.config and source.has("*.nemo"))


def kind(source: Source) -> str:
    return FSQCodec.__name__


def load(source: Source) -> FSQCodec:
    path = archive(source)
    config = config_from_yaml(read_config(path), source.name)
    return build(config, read_weights(path), source.name)


def archive(source: Source) -> Path:
    if not source.is_folder:
        return source.path
    found = sorted(source.path.glob("*.nemo"))
    if len(found) != 1:
        names = ", ".join(path.name for path in found)
        raise ValueError(f"{source.name}: holds several archives ({names}); name the one to load")
    return found[0]


def build(config: FSQCodecConfig, tensors: State, where: str) -> FSQCodec:
    state = _without_levels(drop(tensors, *LEFTOVERS), config.quantizer, where)
    _check_size(config, state, where)
    try:
        state = rename(fold_weight_norm(state), rules(config))
    except RuntimeError as error:
        raise ValueError(f"{where}: weight norms do not fit their weights ({str(error).splitlines()[0]})") from None
    model = FSQCodec(config)
    load_strict(model, state, where)
    return model


def _check_size(config: FSQCodecConfig, state: State, where: str) -> None:
    """A config may ask for any size: no memory is taken before the weights are known to fill it."""
    held = sum(tensor.numel() for tensor in state.values())
    try:
        with torch.device("meta"):
            asked = sum(parameter.numel() for parameter in FSQCodec(config).parameters())
    except (RuntimeError, OverflowError, TypeError):
        asked = sys.maxsize  # more than a tensor can hold
    if asked > held:
        raise ValueError(f"{where}: the configuration asks for {asked} numbers, the weights hold {held}")


def rules(config: FSQCodecConfig) -> list[tuple[str, str]]:
    """Names by place: our halves are rows of layers, NeMo's are lists of the layers of one kind."""
    n_down, n_up = len(config.encoder.ratios), len(config.decoder.ratios)
    table = [(r"^audio_(encoder|decoder)\.pre_conv\.", r"\1.layers.0.")]
    for half, n in (("encoder", n_down), ("decoder", n_up)):
        order = ("res_layers", "activations", "down_sample_conv_layers")
        if half == "decoder":
            order = ("activations", "up_sample_conv_layers", "res_layers")
        for stage in range(n):
            table += [
                (rf"^audio_{half}\.{kind}\.{stage}\.", rf"{half}.layers.{stage + 1}.layers.{place}.")
                for place, kind in enumerate(order)
            ]
        table += [(rf"^audio_{half}\.post_activation\.", rf"{half}.layers.{n + 1}.")]
        table += [(rf"^audio_{half}\.post_conv\.", rf"{half}.layers.{n + 2}.")]
    blocks = ("input_activation", "input_conv", "skip_activation", "skip_conv")
    table += [(r"\.res_blocks\.(\d+)\.res_blocks\.(\d+)\.", r".branches.\1.layers.\2.")]
    table += [(rf"\.{name}\.", rf".layers.{place}.") for place, name in enumerate(blocks)]
    return [*table, (r"\.activation\.snake_act\.", ".snake."), (r"\.activation\.alpha$", ".alpha")]


def config_from_yaml(values: Mapping[str, Any], where: str) -> FSQCodecConfig:
    """Our config of an archive's.

    Raises:
        ValueError: another model than these codecs, or a setting that they do not have, by name.
    """
    parts = {name: section(values, name, where) for name in _CLASSES}
    for name, expected in _CLASSES.items():
        got = str(parts[name].get("_target_")).rsplit(".", 1)[-1]
        if got != expected:
            raise ValueError(f"{where}: {name} {got} is not supported; codecs of {', '.join(_CLASSES.values())} are")
    quantizer = parts["vector_quantizer"]
    unknown = sorted(set(quantizer) - {"_target_", "num_groups", "num_levels_per_group", "eps"})
    if unknown:
        raise ValueError(f"{where}: vector_quantizer.{unknown[0]} is not supported")
    encoder, decoder = parts["audio_encoder"], parts["audio_decoder"]
    try:
        config = FSQCodecConfig(
            sample_rate=int(values["sample_rate"]),
            encoder=_half(encoder, "audio_encoder", "down_sample_rates", 7, 32, where),
            decoder=_half(decoder, "audio_decoder", "up_sample_rates", 3, 512, where),
            quantizer=FSQConfig(
                n_groups=int(quantizer["num_groups"]),
                levels=_numbers(quantizer["num_levels_per_group"]),
                margin=float(quantizer.get("eps", 1e-3)),
            ),
            output=decoder.get("output_activation", "tanh"),
        )
        dims = (int(encoder["encoded_dim"]), int(decoder["input_dim"]))
    except (KeyError, TypeError, OverflowError) as error:
        raise ValueError(f"{where}: the configuration is not complete ({type(error).__name__}: {error})") from None
    if set(dims) != {config.quantizer.dim}:
        raise ValueError(f"{where}: the latent is {dims[0]} and {dims[1]} wide, its levels are {config.quantizer.dim}")
    if int(values.get("samples_per_frame", config.hop_length)) != config.hop_length:
        raise ValueError(f"{where}: samples_per_frame {values['samples_per_frame']} is not the product of the ratios")
    return config


def _half(values: Mapping[str, Any], name: str, ratios: str, last_kernel_size: int, dim: int, where: str) -> HalfConfig:
    unknown = sorted(set(values) - _KNOWN[name] - set(_SHARED) - {"_target_", "out_kernel_size"})
    if unknown and any(values[key] for key in unknown):
        raise ValueError(f"{where}: {name}.{unknown[0]} is not supported")
    options: dict[str, Any] = {ours: values.get(theirs, default) for theirs, (ours, default) in _SHARED.items()}
    for key in ("kernel_sizes", "dilations"):
        options[key] = _numbers(options[key])
    options["pad_mode"] = "constant" if options["pad_mode"] == "zeros" else options["pad_mode"]
    return HalfConfig(
        dim=int(values.get("base_channels", dim)),
        ratios=_numbers(values[ratios]),
        last_kernel_size=int(values.get("out_kernel_size", last_kernel_size)),
        **options,
    )


def _numbers(values: Any) -> tuple[int, ...]:
    if not isinstance(values, list | tuple) or len(values) > MOST_STAGES:
        raise ValueError(f"stages, blocks and levels are lists of at most {MOST_STAGES}, got {str(values)[:80]}")
    return tuple(int(n) for n in values)


def _without_levels(state: State, config: FSQConfig, where: str) -> State:
    """Without the tables of the quantiser, which must be those that follow from the config."""
    places = [1]
    for n in config.levels[:-1]:
        places.append(places[-1] * n)
    expected = {"num_levels": config.levels, "dim_base_index": places}
    for group in range(config.n_groups):
        for name, values in expected.items():
            key = f"vector_quantizer.fsqs.{group}.{name}"
            if key in state and not torch.equal(state[key].flatten().long(), torch.tensor(values)):
                raise ValueError(f"{where}: {key} is {state[key].flatten().tolist()[:8]}, the config says {values}")
    return drop(state, r"^vector_quantizer\.fsqs\.\d+\.(num_levels|dim_base_index)$")
