"""Mimi's official layouts: the transformers folder `kyutai/mimi`, and Kyutai's own `tokenizer-*.safetensors`.

Kyutai's file comes without a config: sizes are read from the shapes of its tensors; what shapes do not tell (heads of
64, a window of 250 steps) is that of the one published model.
"""

import math
from collections.abc import Mapping
from typing import Any

import torch
from einops import rearrange
from safetensors import SafetensorError, safe_open
from torch import Tensor

from nexus.codecs.mimi import Mimi, MimiConfig
from nexus.codecs.seanet import SEANetConfig
from nexus.hub.source import Source
from nexus.hub.tensors import State, load_strict, read_tensors, rename
from nexus.nn.quantize import QuantizerConfig
from nexus.nn.sliding import SlidingTransformerConfig

_CODEBOOKS = (
    (r"\.(embed_sum|embedding_sum|embed_avg)$", ".sums"),
    (r"\.(cluster_usage|cluster_size)$", ".usage"),
    (r"\.(initialized|_initialized|inited)$", ".initialised"),
    (r"\.input_proj\.", ".proj_in."),
    (r"\.output_proj\.", ".proj_out."),
)
TRANSFORMERS_RULES = (
    (r"^(?:encoder|decoder)\.(encoder_transformer|decoder_transformer|downsample|upsample)\.", r"\1."),
    (r"^(encoder|decoder)\.\1_seanet\.", r"\1."),
    (r"\.self_attn\.(q|k|v)_proj\.weight$", r".\1"),
    (r"\.self_attn\.o_proj\.", ".out."),
    (r"\.input_layernorm\.", ".norm."),
    (r"\.post_attention_layernorm\.", ".ffn_norm."),
    (r"\.mlp\.fc1\.", ".ffn_in."),
    (r"\.mlp\.fc2\.", ".ffn_out."),
    (r"\.self_attn_layer_scale\.scale$", ".scale"),
    (r"\.mlp_layer_scale\.scale$", ".ffn_scale"),
    (r"^quantizer\.(semantic|acoustic)_residual_vector_quantizer\.", r"quantizer.\1."),
    (r"\.layers\.(\d+)\.codebook\.", r".quantizer.codebooks.\1."),
    *_CODEBOOKS,
)
KYUTAI_RULES = (
    (r"^(encoder|decoder)\.model\.", r"\1.layers."),
    (r"\.conv\.conv\.conv\.", ".conv."),
    (r"\.conv\.conv\.", ".conv."),
    (r"\.(?:convtr\.)+(weight|bias)$", r".conv.\1"),
    (r"_transformer\.transformer\.", "_transformer."),
    (r"\.self_attn\.(in_proj_weight|in_projs\.0\.weight)$", ".qkv.weight"),
    (r"\.self_attn\.(out_proj|out_projs\.0)\.", ".out."),
    (r"\.norm1\.", ".norm."),
    (r"\.norm2\.", ".ffn_norm."),
    (r"\.linear1\.", ".ffn_in."),
    (r"\.linear2\.", ".ffn_out."),
    (r"\.layer_scale_1\.scale$", ".scale"),
    (r"\.layer_scale_2\.scale$", ".ffn_scale"),
    (r"^quantizer\.rvq_first\.", "quantizer.semantic."),
    (r"^quantizer\.rvq_rest\.", "quantizer.acoustic."),
    (r"\.vq\.layers\.(\d+)\._codebook\.", r".quantizer.codebooks.\1."),
    *_CODEBOOKS,
)
_KYUTAI_MARK = "quantizer.rvq_first.vq.layers.0._codebook."
_KYUTAI_FILE = "tokenizer-*.safetensors"
_PARTS = ("semantic", "acoustic")
_HEAD_DIM = 64
_LEAST_USAGE = 1e-5  # a codebook's vector is its sum over its use, which is at least this


def recognise(source: Source) -> bool:
    if source.is_folder:
        return source.config.get("model_type") == "mimi" or (not source.config and source.has(_KYUTAI_FILE))
    return source.path.suffix == ".safetensors" and any(name.startswith(_KYUTAI_MARK) for name in _names(source))


def kind(source: Source) -> str:
    return Mimi.__name__


def load(source: Source) -> Mimi:
    if source.config.get("model_type") == "mimi":
        config, state = config_from_transformers(source.config, source.name), read_tensors(source)
        return build(config, convert_transformers(state, config), source.name)
    path = next(iter(sorted(source.path.glob(_KYUTAI_FILE)))) if source.is_folder else source.path
    state = convert_kyutai(read_tensors(path))
    return build(config_from_shapes(state, source.name), state, source.name)


def build(config: MimiConfig, state: State, where: str) -> Mimi:
    """The codec with `state`, under our names, in it."""
    model = Mimi(config)
    load_strict(model, state, where)
    return model


def convert_transformers(tensors: Mapping[str, Tensor], config: MimiConfig) -> State:
    state = rename(tensors, TRANSFORMERS_RULES)
    n_heads = config.transformer.n_heads
    for layer in [name.removesuffix(".q") for name in state if name.endswith(".q")]:
        if not {f"{layer}.k", f"{layer}.v"} <= state.keys():
            continue  # the strict load names what is missing
        q, k, v = (state.pop(f"{layer}.{part}") for part in "qkv")
        state[f"{layer}.qkv.weight"] = torch.cat([_interleaved(q, n_heads), _interleaved(k, n_heads), v])
    if "quantizer.semantic.proj_in.weight" not in state:  # transformers leaves them out where they change no width
        identity = torch.eye(config.latent_dim)
        state |= {f"quantizer.{part}.proj_{way}.weight": identity.clone() for part in _PARTS for way in ("in", "out")}
    return with_vectors(state)


def convert_kyutai(tensors: Mapping[str, Tensor]) -> State:
    return with_vectors(rename(tensors, KYUTAI_RULES))


def with_vectors(state: State) -> State:
    """Adds the codebooks' vectors, which both layouts leave to be computed; projections become plain matrices."""
    state = {name: t.squeeze(-1) if ".proj_" in name and t.ndim == 3 else t for name, t in state.items()}
    for name in [name for name in state if name.endswith(".sums")]:
        codebook = name.removesuffix(".sums")
        usage = state.get(f"{codebook}.usage")
        if usage is not None:
            state[f"{codebook}.vectors"] = state[name] / usage.clamp(min=_LEAST_USAGE)[:, None]
    return state


def _interleaved(weight: Tensor, n_heads: int) -> Tensor:
    """Rows so that a rotated pair stands side by side; transformers keeps its halves apart."""
    return rearrange(weight, "(n two e) d -> (n e two) d", n=n_heads, two=2)


def config_from_transformers(values: Mapping[str, Any], where: str) -> MimiConfig:
    """Our config of a transformers `config.json`; absent keys have transformers' defaults, the official model."""
    dim, n_heads = values.get("hidden_size", 512), values.get("num_attention_heads", 8)
    expected = {
        "num_key_value_heads": n_heads,
        "head_dim": dim // n_heads,
        "hidden_act": "gelu",
        "attention_bias": False,
        "norm_eps": 1e-5,
        "codebook_dim": values.get("vector_quantization_hidden_dimension", 256),
    }
    for name, value in expected.items():
        if values.get(name) not in (None, value):
            raise ValueError(f"{where}: Mimi with {name} {values[name]} is not supported; it must be {value}")
    rope = values.get("rope_parameters") or values.get("rope_scaling") or {}
    if rope.get("rope_type", "default") != "default":
        raise ValueError(f"{where}: rotary positions of type {rope['rope_type']!r} are not supported; 'default' is")
    if any(f"{half}_config" in values and values[f"{half}_config"] is None for half in ("encoder", "decoder")):
        raise ValueError(f"{where}: half a Mimi, without its encoder or decoder, is not supported")
    seanet = SEANetConfig(
        n_filters=values.get("num_filters", 64),
        ratios=tuple(values.get("upsampling_ratios") or (8, 6, 5, 4)),
        n_residual_layers=values.get("num_residual_layers", 1),
        kernel_size=values.get("kernel_size", 7),
        last_kernel_size=values.get("last_kernel_size", 3),
        residual_kernel_size=values.get("residual_kernel_size", 3),
        dilation_base=values.get("dilation_growth_rate", 2),
        compress=values.get("compress", 2),
        conv_shortcut=values.get("use_conv_shortcut", False),
        n_lstm_layers=0,
        causal=values.get("use_causal_conv", True),
        pad_mode=values.get("pad_mode", "constant"),
        trim_right_ratio=values.get("trim_right_ratio", 1.0),
        weight_norm=False,
    )
    return MimiConfig(
        sample_rate=values.get("sampling_rate", 24000),
        channels=values.get("audio_channels", 1),
        latent_dim=dim,
        seanet=seanet,
        transformer=SlidingTransformerConfig(
            dim=dim,
            n_layers=values.get("num_hidden_layers", 8),
            n_heads=n_heads,
            hidden_dim=values.get("intermediate_size", 2048),
            window=values.get("sliding_window", 250),
            layer_scale=values.get("layer_scale_initial_scale", 0.01),
            rope_theta=rope.get("rope_theta", values.get("rope_theta", 10000.0)),
        ),
        stride=_stride(values, seanet, where),
        upsample_groups=values.get("upsample_groups", 512),
        quantizer=QuantizerConfig(
            n_codebooks=values.get("num_quantizers", 32),
            codebook_size=values.get("codebook_size", 2048),
            dim=values.get("vector_quantization_hidden_dimension", 256),
        ),
        n_semantic=values.get("num_semantic_quantizers", 1),
    )


def _stride(values: Mapping[str, Any], seanet: SEANetConfig, where: str) -> int:
    """Of the convolutions below the quantiser; the files say it as a frame rate."""
    if values.get("frame_rate") is None:
        return 2
    inner_rate = math.ceil(values.get("sampling_rate", 24000) / seanet.hop_length)
    stride = int(inner_rate / values["frame_rate"])
    if stride < 2:
        raise ValueError(
            f"{where}: frame_rate {values['frame_rate']} is that of the encoder; half of {inner_rate} is not"
        )
    return stride


def config_from_shapes(state: Mapping[str, Tensor], where: str) -> MimiConfig:
    """The config of Kyutai's file (after renaming), from its shapes."""
    needed = ("encoder.layers.0.conv.weight", "downsample.conv.weight", "quantizer.semantic.quantizer.codebooks.0.sums")
    missing = [name for name in needed if name not in state]
    if missing:
        raise ValueError(f"{where}: not a Mimi checkpoint, {missing[0]} (as we name it) is not in it")
    n_filters, channels, kernel_size = state["encoder.layers.0.conv.weight"].shape
    convs = [tensor for name, tensor in _encoder_convs(state)]
    dim = len(state["downsample.conv.weight"])
    codebook_size, width = state["quantizer.semantic.quantizer.codebooks.0.sums"].shape
    n_codebooks = [sum(f"{part}.quantizer" in n and n.endswith(".sums") for n in state) for part in _PARTS]
    return MimiConfig(
        channels=channels,
        latent_dim=dim,
        seanet=SEANetConfig(
            n_filters=n_filters,
            ratios=tuple(conv.shape[-1] // 2 for conv in reversed(convs[1:-1])),
            kernel_size=kernel_size,
            last_kernel_size=convs[-1].shape[-1],
            conv_shortcut=False,
            n_lstm_layers=0,
            pad_mode="constant",
            weight_norm=False,
        ),
        transformer=SlidingTransformerConfig(
            dim=dim,
            n_layers=sum(n.startswith("encoder_transformer.") and n.endswith(".qkv.weight") for n in state),
            n_heads=max(dim // _HEAD_DIM, 1),
            hidden_dim=next(len(t) for n, t in state.items() if n.endswith(".ffn_in.weight")),
        ),
        stride=state["downsample.conv.weight"].shape[-1] // 2,
        upsample_groups=dim // state["upsample.conv.weight"].shape[1],
        quantizer=QuantizerConfig(n_codebooks=sum(n_codebooks), codebook_size=codebook_size, dim=width),
        n_semantic=n_codebooks[0],
        silence_to_whole_frames=True,
    )


def _encoder_convs(state: Mapping[str, Tensor]) -> list[tuple[int, Tensor]]:
    """The encoder's convolutions outside its blocks, in order: between two ends, kernels of twice their stride."""
    convs = [(n.split("."), t) for n, t in state.items() if n.startswith("encoder.layers.") and n.endswith(".weight")]
    return sorted(((int(parts[2]), t) for parts, t in convs if len(parts) == 5), key=lambda item: item[0])


def _names(source: Source) -> list[str]:
    """Names of a safetensors file's tensors, read without them."""
    try:
        with safe_open(source.path, framework="pt") as file:
            return list(file.keys())
    except SafetensorError:
        return []
