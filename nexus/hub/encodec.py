"""EnCodec's official layouts: transformers folders (`facebook/encodec_24khz`, `…_32khz`, `…_48khz`) and original
checkpoints.

An original checkpoint is one file (`encodec_24khz-d7cc33bc.th`, `encodec_48khz-7e698e3e.th` or audiocraft's
`compression_state_dict.bin`) without a config: widths, strides and codebooks are read from the shapes of its tensors.
"""

import math
import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from nexus.codecs.encodec import Encodec, EncodecConfig
from nexus.codecs.encodec_windows import WindowedEncodec, WindowedEncodecConfig
from nexus.codecs.seanet import SEANetConfig
from nexus.hub.source import Source
from nexus.hub.tensors import Rules, State, fold_weight_norm, load_strict, read_tensors, rename
from nexus.nn.quantize import QuantizerConfig

_CODEBOOKS = (
    (r"\.embed$", ".vectors"),
    (r"\.cluster_size$", ".usage"),
    (r"\.embed_avg$", ".sums"),
    (r"\.inited$", ".initialised"),
)
TRANSFORMERS_RULES = (
    (r"^quantizer\.layers\.(\d+)\.codebook\.", r"quantizer.codebooks.\1."),
    *_CODEBOOKS,
)
ORIGINAL_RULES = (
    (r"^(encoder|decoder)\.model\.", r"\1.layers."),
    (r"\.conv\.conv\.", ".conv."),
    (r"\.convtr\.convtr\.", ".conv."),
    (r"\.(conv|convtr)\.norm\.", ".norm."),
    (r"^quantizer\.vq\.layers\.(\d+)\._codebook\.", r"quantizer.codebooks.\1."),
    *_CODEBOOKS,
)
# Both layouts keep a layer's norm beside its convolution, ours inside.
GROUP_NORM_RULES = (
    (r"\.conv\.(weight|bias)$", r".conv.conv.\1"),
    (r"\.norm\.(weight|bias)$", r".conv.norm.\1"),
)
_ORIGINAL_MARK = "quantizer.vq.layers.0._codebook.embed"
_ORIGINAL_FILES = ("*.th", "compression_state_dict.bin")
_ENCODER_WEIGHT = re.compile(r"encoder\.layers\.(\d+)\.conv\.(conv\.)?weight$")


def recognise(source: Source) -> bool:
    if source.config.get("model_type") == "encodec":
        return True
    if source.is_folder:
        return not source.config and any(source.has(name) for name in _ORIGINAL_FILES)
    return source.path.suffix in (".th", ".pt", ".bin") and _ORIGINAL_MARK in read_tensors(source)


def kind(source: Source) -> str:
    """Original checkpoints are told by their official names, without reading tensors."""
    names = [path.name for path in source.path.glob("*.th")] if source.is_folder else [source.path.name]
    windowed = source.config.get("chunk_length_s") or any("48khz" in name for name in names)
    return (WindowedEncodec if windowed else Encodec).__name__


def load(source: Source) -> Encodec | WindowedEncodec:
    if source.config.get("model_type") == "encodec":
        state = renamed(read_tensors(source), TRANSFORMERS_RULES)
        if source.config.get("chunk_length_s"):
            return build_windowed(windows_from_transformers(source.config, source.name), state, source.name)
        return build(config_from_transformers(source.config, source.name), state, source.name)
    state = _original(source)
    config = config_from_shapes(state, source.name)
    if _is_windowed(state):
        return build_windowed(WindowedEncodecConfig(codec=config), state, source.name)
    return build(config, state, source.name)


def build(config: EncodecConfig, state: State, where: str) -> Encodec:
    """The codec with `state`, under our names, in it."""
    model = Encodec(config)
    load_strict(model, state, where)
    return model


def build_windowed(config: WindowedEncodecConfig, state: State, where: str) -> WindowedEncodec:
    """The codec of windows with `state`, under our names, in its inner codec."""
    model = WindowedEncodec(config)
    load_strict(model.codec, state, where)
    return model


def _original(source: Source) -> State:
    """The tensors of an original checkpoint, under our names."""
    path = source.path
    if source.is_folder:
        path = next(found for name in _ORIGINAL_FILES for found in sorted(path.glob(name)))
    return renamed(read_tensors(path), ORIGINAL_RULES)


def renamed(state: State, rules: Rules) -> State:
    """`state` under our names, with or without group norms; weight norms are folded, as computing takes them."""
    state = rename(fold_weight_norm(state), rules)
    return rename(state, GROUP_NORM_RULES) if "encoder.layers.0.norm.weight" in state else state


def _is_windowed(state: Mapping[str, Tensor]) -> bool:
    return "encoder.layers.0.conv.norm.weight" in state


def windows_from_transformers(values: Mapping[str, Any], where: str) -> WindowedEncodecConfig:
    """Our config of a transformers `config.json` with chunks."""
    codec = config_from_transformers(dict(values) | {"chunk_length_s": None, "normalize": False}, where)
    if not values.get("normalize"):
        raise ValueError(f"{where}: chunks that are not normalised are not supported; facebook/encodec_48khz's are")
    length = int(values["chunk_length_s"] * codec.sample_rate)
    return WindowedEncodecConfig(
        codec=codec, window_length=length, stride=max(1, int((1.0 - (values.get("overlap") or 0.0)) * length))
    )


def config_from_transformers(values: Mapping[str, Any], where: str) -> EncodecConfig:
    """Our config of a transformers `config.json`; absent keys have transformers' defaults, the 24 kHz model."""
    norm = values.get("norm_type", "weight_norm")
    if norm not in ("weight_norm", "time_group_norm"):
        raise ValueError(f"{where}: norm_type must be weight_norm or time_group_norm, got {norm!r}")
    if values.get("normalize") or values.get("chunk_length_s"):
        raise ValueError(f"{where}: normalised loudness and chunks come together or not at all")
    dim = values.get("hidden_size", 128)
    if values.get("codebook_dim") not in (None, dim):
        raise ValueError(f"{where}: codebook_dim {values['codebook_dim']} differs from hidden_size {dim}")
    sample_rate, ratios = values.get("sampling_rate", 24000), tuple(values.get("upsampling_ratios", (8, 5, 4, 2)))
    codebook_size = values.get("codebook_size", 1024)
    bits = math.ceil(math.log2(codebook_size)) * math.ceil(sample_rate / math.prod(ratios))
    bandwidth = max(values.get("target_bandwidths", (1.5, 3.0, 6.0, 12.0, 24.0)))
    seanet = SEANetConfig(
        n_filters=values.get("num_filters", 32),
        ratios=ratios,
        n_residual_layers=values.get("num_residual_layers", 1),
        kernel_size=values.get("kernel_size", 7),
        last_kernel_size=values.get("last_kernel_size", 7),
        residual_kernel_size=values.get("residual_kernel_size", 3),
        dilation_base=values.get("dilation_growth_rate", 2),
        compress=values.get("compress", 2),
        conv_shortcut=values.get("use_conv_shortcut", True),
        n_lstm_layers=values.get("num_lstm_layers", 2),
        causal=values.get("use_causal_conv", True),
        pad_mode=values.get("pad_mode", "reflect"),
        trim_right_ratio=values.get("trim_right_ratio", 1.0),
        weight_norm=False,
        group_norm=norm == "time_group_norm",
    )
    quantizer = QuantizerConfig(n_codebooks=int(1000 * bandwidth // bits), codebook_size=codebook_size, dim=dim)
    channels = values.get("audio_channels", 1)
    return EncodecConfig(sample_rate=sample_rate, channels=channels, seanet=seanet, quantizer=quantizer)


def config_from_shapes(state: Mapping[str, Tensor], where: str) -> EncodecConfig:
    """The config of an original checkpoint (after renaming), from its shapes.

    What shapes do not tell follows the three official models: with group norms it is the 48 kHz codec, of the others
    with convolution shortcuts the causal 24 kHz one, without them MusicGen's 32 kHz codec.
    """
    weights = {int(found[1]): tensor for name, tensor in state.items() if (found := _ENCODER_WEIGHT.match(name))}
    if 0 not in weights or "quantizer.codebooks.0.vectors" not in state:
        raise ValueError(f"{where}: not an original EnCodec checkpoint")
    # Strided layers have kernels of twice their stride: 8, 10, … against 7, 3 and 1 elsewhere.
    kernels = [weights[layer].shape[-1] for layer in sorted(weights)]
    ratios = tuple(kernel // 2 for kernel in reversed(kernels[1:-1]))
    has_shortcuts, is_48khz = any(".shortcut." in name for name in state), _is_windowed(state)
    codebook_size, dim = state["quantizer.codebooks.0.vectors"].shape
    return EncodecConfig(
        sample_rate=48000 if is_48khz else 24000 if has_shortcuts else 32000,
        channels=weights[0].shape[1],
        seanet=SEANetConfig(
            n_filters=weights[0].shape[0],
            ratios=ratios,
            conv_shortcut=has_shortcuts,
            causal=has_shortcuts and not is_48khz,
            n_lstm_layers=sum(name.startswith("encoder.") and ".lstm.weight_ih_l" in name for name in state),
            weight_norm=False,
            group_norm=is_48khz,
        ),
        quantizer=QuantizerConfig(
            n_codebooks=sum(name.endswith(".vectors") for name in state), codebook_size=codebook_size, dim=dim
        ),
    )
