"""EnCodec's official layouts: transformers folders (`facebook/encodec_24khz`, `…_32khz`) and original checkpoints.

An original checkpoint is one file (`encodec_24khz-d7cc33bc.th` or audiocraft's `compression_state_dict.bin`) without a
config: widths, strides and codebooks are read from the shapes of its tensors. 48 kHz (group norms, chunks with their
own scales) is refused.
"""

import math
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from nexus.codecs.encodec import Encodec, EncodecConfig
from nexus.codecs.seanet import SEANetConfig
from nexus.hub.source import Source
from nexus.hub.tensors import State, load_strict, read_tensors, rename
from nexus.nn.quantize import QuantizerConfig

_CODEBOOKS = (
    (r"\.embed$", ".vectors"),
    (r"\.cluster_size$", ".usage"),
    (r"\.embed_avg$", ".sums"),
    (r"\.inited$", ".initialised"),
)
_WEIGHT_NORM = (
    (r"\.weight_g$", ".parametrizations.weight.original0"),
    (r"\.weight_v$", ".parametrizations.weight.original1"),
)
TRANSFORMERS_RULES = (
    (r"^quantizer\.layers\.(\d+)\.codebook\.", r"quantizer.codebooks.\1."),
    *_CODEBOOKS,
    *_WEIGHT_NORM,
)
ORIGINAL_RULES = (
    (r"^(encoder|decoder)\.model\.", r"\1.layers."),
    (r"\.conv\.conv\.", ".conv."),
    (r"\.convtr\.convtr\.", ".conv."),
    (r"^quantizer\.vq\.layers\.(\d+)\._codebook\.", r"quantizer.codebooks.\1."),
    *_CODEBOOKS,
    *_WEIGHT_NORM,
)
_ORIGINAL_MARK = "quantizer.vq.layers.0._codebook.embed"
_ORIGINAL_FILES = ("*.th", "compression_state_dict.bin")


def recognise(source: Source) -> bool:
    if source.config.get("model_type") == "encodec":
        return True
    if source.is_folder:
        return not source.config and any(source.has(name) for name in _ORIGINAL_FILES)
    return source.path.suffix in (".th", ".pt", ".bin") and _ORIGINAL_MARK in read_tensors(source)


def kind(source: Source) -> str:
    return Encodec.__name__


def load(source: Source) -> Encodec:
    if source.config.get("model_type") == "encodec":
        config, state = config_from_transformers(source.config, source.name), read_tensors(source)
        return build(config, rename(state, TRANSFORMERS_RULES), source.name)
    path = source.path
    if source.is_folder:
        path = next(found for name in _ORIGINAL_FILES for found in sorted(path.glob(name)))
    state = rename(read_tensors(path), ORIGINAL_RULES)
    return build(config_from_shapes(state, source.name), state, source.name)


def build(config: EncodecConfig, state: State, where: str) -> Encodec:
    """The codec with `state`, under our names, in it."""
    model = Encodec(config)
    load_strict(model, state, where)
    return model


def config_from_transformers(values: Mapping[str, Any], where: str) -> EncodecConfig:
    """Our config of a transformers `config.json`; absent keys have transformers' defaults, the 24 kHz model."""
    if (
        values.get("norm_type", "weight_norm") != "weight_norm"
        or values.get("normalize")
        or values.get("chunk_length_s")
    ):
        raise ValueError(
            f"{where}: EnCodec with group norms, normalised loudness or chunks (the 48 kHz model) is not supported; "
            "facebook/encodec_24khz and facebook/encodec_32khz are"
        )
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
    )
    quantizer = QuantizerConfig(n_codebooks=int(1000 * bandwidth // bits), codebook_size=codebook_size, dim=dim)
    channels = values.get("audio_channels", 1)
    return EncodecConfig(sample_rate=sample_rate, channels=channels, seanet=seanet, quantizer=quantizer)


def config_from_shapes(state: Mapping[str, Tensor], where: str) -> EncodecConfig:
    """The config of an original checkpoint (after renaming), from its shapes.

    What shapes do not tell follows the two official models: with convolution shortcuts it is the causal 24 kHz codec,
    without them MusicGen's 32 kHz codec.
    """
    if "encoder.layers.0.conv.bias" not in state or "quantizer.codebooks.0.vectors" not in state:
        raise ValueError(f"{where}: not an original EnCodec checkpoint with weight norm (the 48 kHz model has none)")
    n_filters = len(state["encoder.layers.0.conv.bias"])
    # Strided layers have kernels of twice their stride: 8, 10, … against 7, 3 and 1 elsewhere.
    kernels = [
        tensor.shape[-1]
        for name, tensor in sorted(state.items(), key=lambda item: _position(item[0]))
        if name.startswith("encoder.layers.") and name.endswith("original1") and ".block." not in name
        if ".shortcut." not in name
    ]
    ratios = tuple(kernel // 2 for kernel in reversed(kernels[1:-1]))
    is_24khz = any(".shortcut." in name for name in state)
    n_codebooks = sum(name.endswith(".vectors") for name in state)
    codebook_size, dim = state["quantizer.codebooks.0.vectors"].shape
    n_lstm_layers = sum(name.startswith("encoder.") and ".lstm.weight_ih_l" in name for name in state)
    return EncodecConfig(
        sample_rate=24000 if is_24khz else 32000,
        channels=state["encoder.layers.0.conv.parametrizations.weight.original1"].shape[1],
        seanet=SEANetConfig(
            n_filters=n_filters,
            ratios=ratios,
            conv_shortcut=is_24khz,
            causal=is_24khz,
            n_lstm_layers=n_lstm_layers,
        ),
        quantizer=QuantizerConfig(n_codebooks=n_codebooks, codebook_size=codebook_size, dim=dim),
    )


def _position(name: str) -> int:
    parts = name.split(".")
    return int(parts[2]) if len(parts) > 2 and parts[2].isdigit() else -1
