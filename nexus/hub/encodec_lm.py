"""The official language models of EnCodec's codes: `encodec_lm_24khz-1608e3c0.th`, `encodec_lm_48khz-7add9fc3.th`.

One file without a config. Widths are read from the shapes of its tensors; what they do not tell is as in both files:
eight heads, and a past of three and a half seconds of a codec that reaches 24 kbps with all its codebooks.
"""

from torch import Tensor

from nexus.codecs.encodec_lm import EncodecLM, EncodecLMConfig
from nexus.hub.source import Source
from nexus.hub.tensors import State, load_strict, read_tensors, rename

RULES = (
    (r"^transformer\.", ""),
    (r"^emb\.", "embeddings."),
    (r"^linears\.", "heads."),
)
_MARK = "transformer.norm_in.weight"
_FILES = "encodec_lm_*.th"


def recognise(source: Source) -> bool:
    if source.is_folder:
        return not source.config and source.has(_FILES) and len(list(source.path.glob("*.th"))) == 1
    return source.path.suffix in (".th", ".pt") and _MARK in read_tensors(source)


def kind(source: Source) -> str:
    return EncodecLM.__name__


def load(source: Source) -> EncodecLM:
    path = next(source.path.glob(_FILES)) if source.is_folder else source.path
    state = rename(read_tensors(path), RULES)
    model = EncodecLM(config_from_shapes(state, source.name))
    load_strict(model, state, source.name)
    return model


def config_from_shapes(state: State, where: str) -> EncodecLMConfig:
    """The config of a checkpoint (after renaming)."""
    embeddings: Tensor | None = state.get("embeddings.0.weight")
    if embeddings is None:
        raise ValueError(f"{where}: not a language model of EnCodec's codes")
    n_codebooks = sum(name.startswith("embeddings.") for name in state)
    bits = (len(embeddings) - 1).bit_length() - 1
    frame_rate = 24000 / (n_codebooks * bits)
    return EncodecLMConfig(
        n_codebooks=n_codebooks,
        codebook_size=len(embeddings) - 1,
        dim=embeddings.shape[1],
        n_layers=sum(name.endswith(".self_attn.in_proj_weight") for name in state),
        context=int(3.5 * frame_rate),
    )
