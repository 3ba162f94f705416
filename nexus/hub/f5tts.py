"""Official F5-TTS weights: `F5TTS_v1_Base/model_*.safetensors` (or `.pt`) with `vocab.txt` beside it."""

import logging
import re
from pathlib import Path

import torch
from torch import nn

from nexus.hub.source import EMBEDDED, Source, find
from nexus.hub.tensors import State, drop, load_strict, read_tensors, rename
from nexus.models.audio.f5tts import F5TTS, F5TTSConfig
from nexus.models.audio.f5tts_dit import DiTConfig
from nexus.text.characters import Characters

log = logging.getLogger(__name__)

VARIANTS = ("F5TTS_v1_Base", "F5TTS_Base")  # of a copy of the whole repository the first is taken
VOCODER = "charactr/vocos-mel-24khz"

_LEFTOVERS = (r"^initted$", r"^step$", r"(^|\.)mel_spec\.", r"(^|\.)rotary_embed\.")
_RULES = (
    (r"^ema_model\.", ""),
    (r"^transformer\.", "network."),
    (r"\.time_embed\.time_mlp\.", ".time_embed.mlp."),
    (r"\.text_embed\.text_embed\.", ".text_embed.embed."),
    (r"\.text_embed\.text_blocks\.", ".text_embed.blocks."),
    (r"\.dwconv\.", ".conv."),
    (r"\.pwconv1\.", ".up."),
    (r"\.pwconv2\.", ".down."),
    (r"\.grn\.", ".response_norm."),
    (r"\.input_embed\.proj\.", ".proj_in."),
    (r"\.input_embed\.conv_pos_embed\.conv1d\.0\.", ".conv_position.convs.0."),
    (r"\.input_embed\.conv_pos_embed\.conv1d\.2\.", ".conv_position.convs.1."),
    (r"\.transformer_blocks\.", ".blocks."),
    (r"\.attn_norm\.linear\.", ".modulation."),
    (r"\.attn\.to_out\.0\.", ".attention.to_out."),
    (r"\.attn\.", ".attention."),
    (r"\.ff\.ff\.0\.0\.", ".up."),
    (r"\.ff\.ff\.2\.", ".down."),
    (r"\.norm_out\.linear\.", ".modulation_out."),
)


def recognise(source: Source) -> bool:
    return _weights(source) is not None


def kind(source: Source) -> str:
    return F5TTS.__name__


def load(source: Source) -> nn.Module:
    """The model with its vocoder and its vocabulary."""
    weights = _weights(source)
    assert weights is not None
    state = read_tensors(weights)
    vocabulary = Characters.load(_vocabulary(weights))
    model = F5TTS(F5TTSConfig(network=network_config(state, f"{source.name}/{weights.parent.name}/{weights.name}")))
    load_strict(model, convert(state), source.name)
    if len(vocabulary.vocabulary) != model.config.network.n_symbols:
        raise ValueError(
            f"{source.name}: vocab.txt has {len(vocabulary.vocabulary)} lines, "
            f"the weights know {model.config.network.n_symbols} symbols; they belong to different models"
        )
    model.front_end, model.vocoder = vocabulary, _vocoder(source)
    return model


def network_config(state: State, name: str) -> DiTConfig:
    """The sizes that the tensors have; what they don't show (v0 or v1) comes from the folder's name."""
    state = {re.sub(r"^(ema_model\.)?transformer\.", "", key): tensor for key, tensor in state.items()}
    dim = state["proj_out.weight"].shape[1]
    inverse_frequencies = state.get("rotary_embed.inv_freq")
    head_dim = 64 if inverse_frequencies is None else 2 * len(inverse_frequencies)
    n_symbols, text_dim = state["text_embed.text_embed.weight"].shape
    v0 = "v1" not in name and "F5TTS_Base" in name
    return DiTConfig(
        n_mels=state["proj_out.weight"].shape[0],
        n_symbols=n_symbols - 1,
        dim=dim,
        n_layers=_count(state, "transformer_blocks"),
        n_heads=dim // head_dim,
        ff_mult=state["transformer_blocks.0.ff.ff.0.0.weight"].shape[0] / dim,
        text_dim=text_dim,
        text_layers=_count(state, "text_embed.text_blocks"),
        mask_text_padding=not v0,
        n_rotary_heads=1 if v0 else None,
    )


def convert(state: State) -> State:
    """Our names; query, key and value in one tensor."""
    state = rename(drop(state, *_LEFTOVERS), _RULES)
    for name in [name for name in state if ".attention.to_q." in name]:
        parts = [state.pop(name.replace("to_q", f"to_{part}")) for part in "qkv" if part != "q"]
        state[name.replace("to_q", "to_qkv")] = torch.cat([state.pop(name), *parts])
    return state


def _count(state: State, prefix: str) -> int:
    """How many numbered layers there are under a prefix."""
    pattern = re.compile(re.escape(prefix) + r"\.(\d+)\.")
    return len({match.group(1) for key in state if (match := pattern.match(key))})


def _weights(source: Source) -> Path | None:
    """The newest weights file of this source that has a vocabulary."""
    if not source.is_folder:
        found = [source.path]
    else:
        folders = [source.path / name for name in VARIANTS if (source.path / name).is_dir()] or [source.path]
        found = [*folders[0].glob("model_*.safetensors"), *folders[0].glob("model_*.pt")]
    found = [path for path in found if path.suffix in {".safetensors", ".pt"} and _vocabulary(path).is_file()]
    return max(found, key=lambda path: (path.suffix == ".safetensors", len(path.name), path.name), default=None)


def _vocabulary(weights: Path) -> Path:
    """vocab.txt beside the weights, or one folder up where a copy of the repository keeps it."""
    beside = weights.parent / "vocab.txt"
    return beside if beside.is_file() else weights.parent.parent / "vocab.txt"


def _vocoder(source: Source) -> nn.Module:
    """A Vocos folder that lies with the weights; for a hub id the official one; else our own small one."""
    from nexus.hub import native, vocos

    if source.is_folder and (source.path / "vocos-mel-24khz").is_dir():
        return vocos.load(source.part("vocos-mel-24khz"))
    if not Path(source.name).expanduser().exists():
        return vocos.load(find(VOCODER))
    log.warning(
        "%s: no vocos-mel-24khz folder with the weights, so nexus/spectral-vocoder-tiny is the vocoder; put %s there",
        source.name,
        VOCODER,
    )
    return native.load(Source("nexus/spectral-vocoder-tiny", EMBEDDED / "spectral-vocoder-tiny"))
