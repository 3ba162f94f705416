"""MusicGen's official layouts: transformers folders (`musicgen`, `musicgen_melody`) and audiocraft's two files.

Both hold the codec; the text encoder (T5-base) comes with the transformers folder, beside audiocraft's files it is
expected in `t5-base/`, or fetched.
"""

import re
from typing import Any

import torch
import yaml

from nexus.hub import encodec
from nexus.hub.source import Source, find, read_json
from nexus.hub.tensors import State, drop, load_strict, read_tensors, rename
from nexus.models.audio.musicgen import MelodyConfig, MusicGen, MusicGenConfig
from nexus.text.encoders import TextEncoder, from_folder, read_tokenizer

TRANSFORMERS_RULES = (
    (r"^decoder\.model\.decoder\.embed_tokens\.", "decoder.embed."),
    (r"^decoder\.lm_heads\.", "decoder.heads."),
    (r"^decoder\.model\.decoder\.layer_norm\.", "decoder.norm."),
    (r"^decoder\.model\.decoder\.", "decoder."),
    (r"\.self_attn_layer_norm\.", ".norm."),
    (r"\.encoder_attn_layer_norm\.", ".cross_norm."),
    (r"\.final_layer_norm\.", ".ffn_norm."),
    (r"\.self_attn\.out_proj\.", ".out."),
    (r"\.self_attn\.([qkv])_proj\.", r".self_\1."),
    (r"\.encoder_attn\.out_proj\.", ".cross_out."),
    (r"\.encoder_attn\.([qkv])_proj\.", r".cross_\1."),
    (r"\.fc1\.", ".ffn_in."),
    (r"\.fc2\.", ".ffn_out."),
    (r"^enc_to_dec_proj\.", "text_proj."),
    (r"^audio_enc_to_dec_proj\.", "melody_proj."),
)
AUDIOCRAFT_RULES = (
    (r"^emb\.", "decoder.embed."),
    (r"^linears\.", "decoder.heads."),
    (r"^out_norm\.", "decoder.norm."),
    (r"^transformer\.", "decoder."),
    (r"\.self_attn\.in_proj_weight$", ".qkv.weight"),
    (r"\.self_attn\.out_proj\.", ".out."),
    (r"\.cross_attention\.in_proj_weight$", ".cross_qkv.weight"),
    (r"\.cross_attention\.out_proj\.", ".cross_out."),
    (r"\.norm1\.", ".norm."),
    (r"\.norm2\.", ".ffn_norm."),
    (r"\.norm_cross\.", ".cross_norm."),
    (r"\.linear1\.", ".ffn_in."),
    (r"\.linear2\.", ".ffn_out."),
    (r"^condition_provider\.conditioners\.description\.output_proj\.", "text_proj."),
    (r"^condition_provider\.conditioners\.self_wav\.output_proj\.", "melody_proj."),
)
_AUDIOCRAFT_FILES = ("state_dict.bin", "compression_state_dict.bin")
_STEREO_DELAYS = (0, 0, 1, 1, 2, 2, 3, 3)


def recognise(source: Source) -> bool:
    return source.config.get("model_type") in ("musicgen", "musicgen_melody") or source.has(*_AUDIOCRAFT_FILES)


def kind(source: Source) -> str:
    return MusicGen.__name__


def load(source: Source) -> MusicGen:
    if "model_type" in source.config:
        return _load_transformers(source)
    return _load_audiocraft(source)


def _load_transformers(source: Source) -> MusicGen:
    config = config_from_transformers(source)
    # Older files hold the table of positions, which is computed.
    state = drop(read_tensors(source), r"\.embed_positions\.weights$")
    parts = {name: _part(state, f"{name}.") for name in ("audio_encoder", "text_encoder")}
    own = {name: tensor for name, tensor in state.items() if name.split(".")[0] not in parts}
    model = MusicGen(config)
    load_strict(model, convert(rename(own, TRANSFORMERS_RULES), config), source.name)
    where = f"{source.name} (audio_encoder)"
    codec_config = encodec.config_from_transformers(source.config["audio_encoder"], where)
    model.codec = encodec.build(
        codec_config, encodec.renamed(parts["audio_encoder"], encodec.TRANSFORMERS_RULES), where
    )
    model.text_encoder = _t5(source, parts["text_encoder"])
    return model


def config_from_transformers(source: Source) -> MusicGenConfig:
    """Our config of a transformers `config.json`; absent keys have transformers' defaults, the small model."""
    values, raw = source.config["decoder"], source.config
    if values.get("activation_function", "gelu") != "gelu" or values.get("scale_embedding"):
        raise ValueError(f"{source.name}: only GELU and unscaled embeddings are known, as in all official models")
    melody = None
    if raw["model_type"] == "musicgen_melody":
        heard = source.path / "preprocessor_config.json"
        extractor = read_json(heard) if heard.is_file() else {}
        melody = MelodyConfig(
            sample_rate=extractor.get("sampling_rate", 32000),
            n_fft=extractor.get("n_fft", 16384),
            hop_length=extractor.get("hop_length", 4096),
            length=raw.get("chroma_length", 235),
        )
    stereo = values.get("audio_channels", 1) == 2
    n_codebooks = values.get("num_codebooks", 4)
    return MusicGenConfig(
        dim=values.get("hidden_size", 1024),
        n_layers=values.get("num_hidden_layers", 24),
        n_heads=values.get("num_attention_heads", 16),
        ffn_dim=values.get("ffn_dim", 4096),
        codebook_size=values.get("vocab_size", 2048),
        delays=tuple(k // 2 if stereo else k for k in range(n_codebooks)),
        text_dim=raw["text_encoder"].get("d_model", 512),
        melody=melody,
    )


def convert(state: State, config: MusicGenConfig) -> State:
    """Fuses projections and heads; a projection that equal widths made unnecessary becomes the identity."""
    fused = dict(state)
    for name in state:
        if name.endswith(".self_q.weight"):
            parts = [name.replace(".self_q.", f".self_{part}.") for part in "qkv"]
            fused[name.replace(".self_q.", ".qkv.")] = torch.cat([fused.pop(part) for part in parts])
        elif name.endswith(".cross_k.weight"):
            parts = [name, name.replace(".cross_k.", ".cross_v.")]
            fused[name.replace(".cross_k.", ".cross_kv.")] = torch.cat([fused.pop(part) for part in parts])
        elif name.endswith(".cross_qkv.weight"):
            q, kv = fused.pop(name).split([config.dim, 2 * config.dim])
            fused[name.replace("_qkv", "_q")], fused[name.replace("_qkv", "_kv")] = q.clone(), kv.clone()
    heads = [f"decoder.heads.{k}.weight" for k in range(config.n_codebooks)]
    if all(head in fused for head in heads):
        fused["decoder.head.weight"] = torch.cat([fused.pop(head) for head in heads])
    if config.text_dim == config.dim and "text_proj.weight" not in fused:
        fused |= {"text_proj.weight": torch.eye(config.dim), "text_proj.bias": torch.zeros(config.dim)}
    if config.melody is not None and config.dim == 12 and "melody_proj.weight" not in fused:
        fused |= {"melody_proj.weight": torch.eye(12), "melody_proj.bias": torch.zeros(12)}
    return fused


def _part(state: State, prefix: str) -> State:
    return {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}


def _t5(source: Source, state: State) -> TextEncoder:
    """The text encoder of a transformers folder, whose tokenizer lies beside it."""
    from transformers import T5Config, T5EncoderModel

    encoder = T5EncoderModel(T5Config(**source.config["text_encoder"]))
    tied = ("shared.weight", "encoder.embed_tokens.weight")  # files hold either
    held = next((state[name] for name in tied if name in state), None)
    state = state if held is None else {**state, **dict.fromkeys(tied, held)}
    load_strict(encoder, state, f"{source.name} (text_encoder)")
    return TextEncoder(encoder, read_tokenizer(source.path), max_tokens=512)


def _load_audiocraft(source: Source) -> MusicGen:
    path = source.path / "state_dict.bin"
    state = drop(rename(read_tensors(path), AUDIOCRAFT_RULES), r"\.self_wav\.chroma\.")
    config = config_from_audiocraft(state, _settings(torch.load(path, weights_only=True, mmap=True)))
    model = MusicGen(config)
    load_strict(model, convert(state, config), source.name)
    model.codec = encodec.load(source.part("compression_state_dict.bin"))
    text = source.path / "t5-base"
    model.text_encoder = from_folder(text if text.is_dir() else find("google-t5/t5-base").path)
    return model


def _settings(checkpoint: dict[str, Any]) -> dict[str, Any]:
    """The run's configuration, which audiocraft keeps as YAML beside the tensors."""
    return yaml.safe_load(checkpoint["xp.cfg"]) if isinstance(checkpoint.get("xp.cfg"), str) else {}


def config_from_audiocraft(state: State, settings: dict[str, Any]) -> MusicGenConfig:
    """Sizes from the shapes (after renaming); heads are 64 wide unless the settings say otherwise."""
    n_codebooks = sum(bool(re.match(r"decoder\.embed\.\d+\.weight$", name)) for name in state)
    entries, dim = state["decoder.embed.0.weight"].shape
    return MusicGenConfig(
        dim=dim,
        n_layers=sum(name.endswith(".qkv.weight") and "cross" not in name for name in state),
        n_heads=settings.get("transformer_lm", {}).get("num_heads", max(1, dim // 64)),
        ffn_dim=len(state["decoder.layers.0.ffn_in.weight"]),
        codebook_size=entries - 1,
        delays=_STEREO_DELAYS if n_codebooks == 8 else tuple(range(n_codebooks)),
        text_dim=state["text_proj.weight"].shape[1],
        melody=MelodyConfig() if "melody_proj.weight" in state else None,
    )
