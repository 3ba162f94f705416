"""FACodec's published pair, `ns3_facodec_encoder.bin` beside `ns3_facodec_decoder.bin`, and its version 2.

There is no config: sizes are read from shapes. A folder that holds both versions gives the first; to have the second
name one of its files. The predictors of training, two thirds of the numbers, are dropped; `load_predictors` gives them.
"""

import re
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from nexus.codecs.facodec import FACodec, FACodecConfig
from nexus.codecs.facodec_predictors import Predictors, PredictorsConfig
from nexus.hub.source import Source
from nexus.hub.tensors import State, drop, fold_weight_norm, load_strict, read_tensors, rename

_PAIR = re.compile(r"^(ns3_facodec_)(?:encoder|decoder)(_v2)?\.bin$")
# Tables that follow from the sizes: filters of the activations, positions, mel filters.
TABLES = (r"\.filter$", r"\.position_emb\.pe$", r"^mel_transform\.(mel_basis|hann_window)$")
PREDICTORS = {
    "f0_predictor": "pitch",
    "phone_predictor": "phones",
    "res_f0_predictor.1": "detail_pitch",
    "res_phone_predictor.1": "detail_phones",
    "x_timbre_predictor.1": "speaker",
}
_STACKS = ("prosody", "content", "detail")
_OTHER_PREDICTORS = ("content_f0_predictor", "prosody_phone_predictor")  # in the code, not in the published weights
_CONVOLUTIONS = (
    (r"(?<![a-z_])block\.", "layers."),
    (r"\.act\.(alpha|beta)$", r".activation.\1"),
    (r"(layers\.\d+)\.(weight|bias|parametrizations)(?=$|\.)", r"\1.conv.\2"),
)
_TRANSFORMER = (
    (r"\.self_attn\.in_proj_", ".qkv."),
    (r"\.self_attn\.out_proj\.", ".attention_out."),
    (r"\.ln_1\.", ".attention_norm."),
    (r"\.ln_2\.", ".norm."),
    (r"\.ffn\.ffn_1\.", ".conv."),
    (r"\.ffn\.ffn_2\.", ".out."),
    (r"\.last_ln\.", ".norm."),
)
ENCODER_RULES = ((r"^block\.", "encoder.layers."), *_CONVOLUTIONS)
DECODER_RULES = (
    *((rf"^quantizer\.{i}\.layers\.", f"{name}.codebooks.") for i, name in enumerate(_STACKS)),
    (r"\.in_proj\.", ".proj_in."),
    (r"\.out_proj\.", ".proj_out."),
    (r"\._codebook\.weight$", ".vectors"),
    (r"^model\.", "decoder.layers."),
    (r"^timbre_linear\.", "style."),
    (r"^melspec_linear\.", "prosody_encoder.proj_in."),
    (r"^melspec_encoder\.", "prosody_encoder.encoder."),
)


def recognise(source: Source) -> bool:
    return _stem(source) is not None


def kind(source: Source) -> str:
    return FACodec.__name__


def load(source: Source) -> FACodec:
    encoder, decoder = (read_tensors(path) for path in pair(source))
    return build(encoder, decoder, source.name)


def load_predictors(source: Source) -> Predictors:
    """The predictors that the published codec was trained with, to train it on."""
    return build_predictors(read_tensors(pair(source)[1]), source.name)


def pair(source: Source) -> tuple[Path, Path]:
    """The files of encoder and decoder.

    Raises:
        FileNotFoundError: one of them is missing.
    """
    found = _stem(source)
    assert found is not None, "asked of what `recognise` takes"
    folder = source.path if source.is_folder else source.path.parent
    paths = folder / f"{found[0]}encoder{found[1]}.bin", folder / f"{found[0]}decoder{found[1]}.bin"
    for path in paths:
        if not path.is_file():
            raise FileNotFoundError(f"{source.name}: {path.name} is missing; FACodec is a pair of files")
    return paths


def _stem(source: Source) -> tuple[str, str] | None:
    """What both names begin and end with."""
    names = sorted(path.name for path in source.path.iterdir()) if source.is_folder else [source.path.name]
    found = [(match[1], match[2] or "") for name in names if (match := _PAIR.match(name))]
    return min(found, key=lambda stem: len(stem[1]), default=None)


def build(encoder: State, decoder: State, where: str) -> FACodec:
    unused = [rf"^{re.escape(name)}\." for name in (*PREDICTORS, *_OTHER_PREDICTORS)]
    state = rename(fold_weight_norm(drop(encoder, *TABLES)), ENCODER_RULES)
    state |= _decoder_names(fold_weight_norm(drop(decoder, *TABLES, *unused)))
    model = FACodec(config_from_shapes(state, where))
    load_strict(model, _as_convolutions(state), where)
    return model


def _decoder_names(decoder: State) -> State:
    """The rules of each part apply to it alone: `out_proj` is a projection of a codebook, and of attention."""
    inner = rename(decoder, _TRANSFORMER)
    renamed = rename(inner, DECODER_RULES)
    outer = {name: tensor for name, tensor in renamed.items() if name.startswith("decoder.")}
    return {name: tensor for name, tensor in renamed.items() if name not in outer} | rename(outer, _CONVOLUTIONS)


def _as_convolutions(state: State) -> State:
    """Linear projections of codebooks as convolutions over one frame, which they are."""
    return {
        name: tensor[..., None] if re.search(r"\.proj_(in|out)\.weight$", name) and ".codebooks." in name else tensor
        for name, tensor in state.items()
    }


def build_predictors(decoder: State, where: str) -> Predictors:
    state: State = {}
    for theirs, ours in PREDICTORS.items():
        part = {name: tensor for name, tensor in decoder.items() if name.startswith(f"{theirs}.")}
        state |= {f"{ours}{name.removeprefix(theirs)}": tensor for name, tensor in drop(part, *TABLES).items()}
    rules = ((r"^(\w+)\.model\.", r"\1.body.layers."), *_CONVOLUTIONS)
    state = rename(fold_weight_norm(state), rules)
    try:
        (n_phones, dim), n_speakers = state["phones.heads.0.weight"].shape, len(state["speaker.heads.0.weight"])
    except KeyError as error:
        raise ValueError(f"{where}: no predictors of FACodec; {error} is missing") from None
    config = PredictorsConfig(dim=dim, n_phones=n_phones, n_speakers=n_speakers, weight_norm=False)
    model = Predictors(config)
    load_strict(model, state, where)
    return model


def config_from_shapes(state: Mapping[str, Tensor], where: str) -> FACodecConfig:
    """The config of both files (after renaming); the number of heads, which shapes do not tell, is the published 4."""
    try:
        n_stages = max(int(name.split(".")[2]) for name in state if name.startswith("encoder.layers.")) - 2
        kernels = [state[f"encoder.layers.{i + 1}.layers.4.conv.weight"].shape[-1] for i in range(n_stages)]
        counts = [len([n for n in state if re.match(rf"{kind}\.codebooks\.\d+\.vectors$", n)]) for kind in _STACKS]
        codebook_size, codebook_dim = state["prosody.codebooks.0.vectors"].shape
        prosody = state.get("prosody_encoder.proj_in.weight")
        return FACodecConfig(
            encoder_dim=len(state["encoder.layers.0.conv.bias"]),
            decoder_dim=len(state["decoder.layers.0.conv.bias"]),
            dim=len(state[f"encoder.layers.{n_stages + 2}.conv.bias"]),
            ratios=tuple(kernel // 2 for kernel in kernels),
            n_codebooks=(counts[0], counts[1], counts[2]),
            codebook_size=codebook_size,
            codebook_dim=codebook_dim,
            n_layers=len([n for n in state if re.match(r"timbre_encoder\.layers\.\d+\.qkv\.weight$", n)]),
            hidden_dim=len(state["timbre_encoder.layers.0.conv.bias"]),
            prosody_bins=None if prosody is None else prosody.shape[1],
        )
    except (KeyError, ValueError) as error:
        raise ValueError(f"{where}: not FACodec's encoder and decoder ({error})") from None
