"""CogVideoX's original release (THUDM, for SwissArmyTransformer): `transformer/1000/mp_rank_00_model_states.pt` and
`vae/3d-vae.pt`, with the text encoder in `t5-v1_1-xxl/` (or, as diffusers has it, `text_encoder/` and `tokenizer/`).

The files hold no config: sizes are read from the tensors, the rest is that of the official 2B (sine-cosine positions)
or 5B (rotary positions).
"""

import re
from dataclasses import replace

import torch
from torch import Tensor

from nexus.codecs.cogvideox_vae import CogVideoXVAE, CogVideoXVAEConfig
from nexus.hub.cogvideox import text_encoder
from nexus.hub.source import Source
from nexus.hub.tensors import State, drop, load_strict, read_tensors, rename
from nexus.models.video.cogvideox import CogVideoX, CogVideoXConfig

TRANSFORMER_FILE, VAE_FILE = "mp_rank_00_model_states.pt", "3d-vae.pt"

TRANSFORMER_RULES = (
    (r"^model\.diffusion_model\.", ""),
    (r"^mixins\.patch_embed\.proj\.", "video_in."),
    (r"^mixins\.patch_embed\.text_proj\.", "text_in."),
    (r"^mixins\.adaln_layer\.adaLN_modulations\.(\d+)\.1\.", r"blocks.\1.modulation."),
    (r"^mixins\.adaln_layer\.query_layernorm_list\.(\d+)\.", r"blocks.\1.attn.q_norm."),
    (r"^mixins\.adaln_layer\.key_layernorm_list\.(\d+)\.", r"blocks.\1.attn.k_norm."),
    (r"^mixins\.final_layer\.norm_final\.", "norm_out.norm."),
    (r"^mixins\.final_layer\.adaLN_modulation\.1\.", "norm_out.modulation."),
    (r"^mixins\.final_layer\.linear\.", "proj_out."),
    (r"^mixins\.pos_embed\.", "positions."),
    (r"^transformer\.final_layernorm\.", "norm_final."),
    (r"^transformer\.layers\.", "blocks."),
    (r"\.input_layernorm\.", ".norm1.norm."),
    (r"\.post_attention_layernorm\.", ".norm2.norm."),
    (r"\.attention\.query_key_value\.", ".attn.qkv."),
    (r"\.attention\.dense\.", ".attn.out."),
    (r"\.mlp\.dense_h_to_4h\.", ".ff.0."),
    (r"\.mlp\.dense_4h_to_h\.", ".ff.2."),
)
VAE_RULES = (
    (r"^(encoder|decoder)\.(down|up)\.", r"\1.\2_blocks."),
    (r"\.mid\.block_1\.", ".mid_block.resnets.0."),
    (r"\.mid\.block_2\.", ".mid_block.resnets.1."),
    (r"\.block\.", ".resnets."),
    (r"\.(down|up)sample\.", r".\1samplers.0."),
    (r"\.nin_shortcut\.", ".conv_shortcut."),
)
# Frozen parts that fine-tuning saves along, and a table of positions that every SAT model has and this one never reads.
TRANSFORMER_LEFTOVERS = (r"^conditioner\.", r"^first_stage_model\.", r"\.transformer\.position_embeddings\.")
VAE_LEFTOVERS = (r"^loss\.",)
_ROTARY = ("positions.freqs_sin", "positions.freqs_cos")


def recognise(source: Source) -> bool:
    """A release's folder, or one of its two files."""
    if source.is_folder:
        return not source.config and source.has(f"transformer/*/{TRANSFORMER_FILE}")
    return source.path.name in (TRANSFORMER_FILE, VAE_FILE)


def kind(source: Source) -> str:
    return (CogVideoXVAE if source.path.name == VAE_FILE else CogVideoX).__name__


def load(source: Source) -> CogVideoX | CogVideoXVAE:
    if not source.is_folder:
        return load_vae(source) if source.path.name == VAE_FILE else load_transformer(source)
    vae, words = source.part(f"vae/{VAE_FILE}"), _text_encoder_parts(source)
    model = load_transformer(_newest(source))
    model.vae = load_vae(vae, model.config.latent_scale)
    model.text_encoder = text_encoder(*words)
    return model


def load_transformer(source: Source) -> CogVideoX:
    state = rename(drop(read_tensors(source), *TRANSFORMER_LEFTOVERS), TRANSFORMER_RULES)
    model = CogVideoX(transformer_config(state, source.name))
    load_strict(model.network, convert_transformer(state), source.name)
    return model


def load_vae(source: Source, latent_scale: float = CogVideoXVAEConfig.scaling_factor) -> CogVideoXVAE:
    state = rename(drop(read_tensors(source), *VAE_LEFTOVERS), VAE_RULES)
    vae = CogVideoXVAE(replace(vae_config(state, source.name), scaling_factor=latent_scale))
    load_strict(vae, convert_vae(state), source.name)
    return vae


def transformer_config(state: State, where: str) -> CogVideoXConfig:
    """The sizes that the tensors have (after renaming); the 5B is known by its rotary tables or its 42 layers."""
    n_layers, in_channels = _count(state, "blocks"), _shape(state, "video_in.weight", where)[1]
    outputs, dim = _shape(state, "proj_out.weight", where)
    large = CogVideoXConfig.cogvideox_5b()
    rotary = _ROTARY[0] in state or n_layers == large.network.n_layers
    patch_size = _shape(state, "video_in.weight", where)[-1]
    if state["video_in.weight"].ndim != 4 or outputs != in_channels * patch_size**2:
        raise ValueError(
            f"{where}: patches of {list(state['video_in.weight'].shape)} to {outputs} outputs are of another "
            "architecture (1.5 or image-to-video?); known are the releases of CogVideoX-2b and 5b"
        )
    head_dim = _shape(state, "blocks.0.attn.q_norm.weight", where)[0]
    preset = large if rotary else CogVideoXConfig()
    sizes = {
        "n_layers": n_layers,
        "n_heads": dim // head_dim,
        "head_dim": head_dim,
        "in_channels": in_channels,
        "text_dim": _shape(state, "text_in.weight", where)[1],
        "time_dim": _shape(state, "time_embed.0.weight", where)[0],
        "patch_size": patch_size,
    }
    if _ROTARY[0] not in state:
        return replace(preset, network=replace(preset.network, **sizes))
    frames, rows, columns = rotary_grid(state[_ROTARY[0]])
    sample_size = (rows * patch_size, columns * patch_size)
    return replace(
        preset,
        network=replace(preset.network, **sizes, sample_size=sample_size),
        frames=4 * frames - 3,
        max_frames=4 * frames - 3,
        size=(8 * sample_size[0], 8 * sample_size[1]),
    )


def rotary_grid(sines: Tensor) -> tuple[int, int, int]:
    """Frames, rows and columns of a table of sines [F H W, E] (or [F, H, W, E]).

    The first channels of rows and of columns hold the sine of the place itself, which is 0 at place 0 only.
    """
    dim = sines.shape[-1]
    table = sines.reshape(-1, dim)
    row, column = table[:, dim // 4], table[:, dim // 4 + dim * 3 // 8]
    n_columns = _period(column == 0)
    n_places = _period((row == 0) & (column == 0))
    return len(table) // n_places, n_places // n_columns, n_columns


def _period(starts: Tensor) -> int:
    """Distance of the first two places that are starts; the whole length where there is one."""
    found = starts.nonzero().flatten().tolist()
    return found[1] - found[0] if len(found) > 1 else len(starts)


def convert_transformer(state: State) -> State:
    """Splits each block's twelve modulations; leaves out the table of positions, which is computed."""
    converted: State = {}
    # Both kinds of positions at once are those of image-to-video, learned, and no leftovers.
    tables = _ROTARY if _ROTARY[0] in state else ("positions.pos_embedding",)
    for name, tensor in state.items():
        if re.match(r"blocks\.\d+\.modulation\.", name):
            # Video's shift, scale and gate before attention, the same before the feed-forward, then text's of both.
            video1, video2, text1, text2 = tensor.chunk(4)
            converted[name.replace("modulation", "norm1.modulation")] = torch.cat([video1, text1])
            converted[name.replace("modulation", "norm2.modulation")] = torch.cat([video2, text2])
        elif name not in tables:
            converted[name] = tensor
    return converted


def vae_config(state: State, where: str) -> CogVideoXVAEConfig:
    """The widths that the tensors have (after renaming); group norms of 32 and a fourth of the frames are SAT's own."""
    first = [
        f"encoder.down_blocks.{i}.resnets.0.conv1.conv.weight" for i in range(_count(state, "encoder.down_blocks"))
    ]
    return CogVideoXVAEConfig(
        block_out_channels=tuple(_shape(state, name, where)[0] for name in first),
        layers_per_block=_count(state, "encoder.down_blocks.0.resnets"),
        latent_channels=_shape(state, "decoder.conv_in.conv.weight", where)[1],
    )


def convert_vae(state: State) -> State:
    """Counts the decoder's levels in the order data meets them; the original counts from the finest."""
    last = _count(state, "decoder.up_blocks") - 1
    level = re.compile(r"^decoder\.up_blocks\.(\d+)\.")
    return {
        level.sub(lambda match: f"decoder.up_blocks.{last - int(match[1])}.", name): tensor
        for name, tensor in state.items()
    }


def _count(state: State, prefix: str) -> int:
    """How many numbered parts there are under a prefix."""
    pattern = re.compile(re.escape(prefix) + r"\.(\d+)\.")
    return len({match[1] for name in state if (match := pattern.match(name))})


def _shape(state: State, name: str, where: str) -> torch.Size:
    if name not in state:
        raise ValueError(f"{where}: {name} (our name of it) is missing, without which its sizes are unknown")
    return state[name].shape


def _newest(source: Source) -> Source:
    """The checkpoint that `latest` names; without that file the one of most steps."""
    folder = source.part("transformer")
    latest = folder.path / "latest"
    if latest.is_file():
        return folder.part(f"{latest.read_text(errors='replace').strip()}/{TRANSFORMER_FILE}")
    steps = [path.parent.name for path in folder.path.glob(f"*/{TRANSFORMER_FILE}")]
    return folder.part(f"{max(steps, key=lambda name: (int(name) if name.isdigit() else -1, name))}/{TRANSFORMER_FILE}")


def _text_encoder_parts(source: Source) -> tuple[Source, Source]:
    """T5's folder and its tokenizer's."""
    if source.has("t5-v1_1-xxl"):
        return source.part("t5-v1_1-xxl"), source.part("t5-v1_1-xxl")
    if source.has("text_encoder", "tokenizer"):
        return source.part("text_encoder"), source.part("tokenizer")
    raise FileNotFoundError(
        f"{source.name}: the text encoder is missing; put text_encoder/ and tokenizer/ of THUDM/CogVideoX-2b there, or "
        "the files of both into t5-v1_1-xxl/"
    )
