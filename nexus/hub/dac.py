"""DAC's official layouts: transformers folders (`descript/dac_44khz` …) and Descript's own `.pth` files.

A transformers folder holds plain weights. Descript's file holds {"state_dict", "metadata"}: the metadata are the
arguments of the model's class, the weights are split into sizes and directions, which are folded into plain ones.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nexus.codecs.dac import Dac, DacConfig
from nexus.hub.source import Source
from nexus.hub.tensors import State, fold_weight_norm, load_strict, read_pickle, read_tensors, rename, unwrap

_QUANTIZER = (
    (r"^quantizer\.quantizers\.", "quantizer.codebooks."),
    (r"\.in_proj\.", ".proj_in."),
    (r"\.out_proj\.", ".proj_out."),
    (r"\.codebook\.weight$", ".vectors"),
)
_CONVOLUTIONS = ((r"^((?:encoder|decoder)\..*)\.(weight|bias)$", r"\1.conv.\2"),)
ORIGINAL_RULES = (
    *_QUANTIZER,
    (r"^encoder\.block\.", "encoder.layers."),
    (r"^decoder\.model\.", "decoder.layers."),
    (r"\.block\.", ".layers."),
    *_CONVOLUTIONS,
)
_ORIGINAL_MARK = r"^quantizer\.quantizers\.0\.in_proj\."
_ORIGINAL_FILE = "weights*.pth"
# What transformers calls a stage's layers, and those of a residual unit, in turn.
_STAGES = {
    "encoder": ("res_unit1", "res_unit2", "res_unit3", "snake1", "conv1"),
    "decoder": ("snake1", "conv_t1", "res_unit1", "res_unit2", "res_unit3"),
}
_UNIT = ("snake1", "conv1", "snake2", "conv2")


def transformers_rules(n_stages: int) -> list[tuple[str, str]]:
    ends = ("conv1", *(f"block.{i}" for i in range(n_stages)), "snake1", "conv2")
    return [
        *_QUANTIZER,
        *((rf"(\.res_unit\d)\.{name}\.", rf"\1.layers.{i}.") for i, name in enumerate(_UNIT)),
        *(
            (rf"^({side}\.block\.\d+)\.{name}\.", rf"\1.layers.{i}.")
            for side, names in _STAGES.items()
            for i, name in enumerate(names)
        ),
        *((rf"^{side}\.{re.escape(name)}\.", f"{side}.layers.{i}.") for side in _STAGES for i, name in enumerate(ends)),
        *_CONVOLUTIONS,
    ]


def recognise(source: Source) -> bool:
    if source.is_folder:
        return source.config.get("model_type") == "dac" or (not source.config and source.has(_ORIGINAL_FILE))
    if source.path.suffix != ".pth":
        return False
    return any(re.match(_ORIGINAL_MARK, name) for name in read_tensors(source))


def kind(source: Source) -> str:
    return Dac.__name__


def load(source: Source) -> Dac:
    if source.is_folder and source.config:
        config = config_from_transformers(source.config, source.name)
        return build(config, rename(read_tensors(source), transformers_rules(len(config.ratios))), source.name)
    path = original_file(source)
    content = read_pickle(path)
    config = config_from_metadata(content, str(path))
    return build(config, rename(fold_weight_norm(unwrap(content, path)), ORIGINAL_RULES), source.name)


def original_file(source: Source) -> Path:
    """The one `.pth` of a source."""
    if not source.is_folder:
        return source.path
    found = sorted(source.path.glob(_ORIGINAL_FILE))
    if len(found) > 1:
        names = ", ".join(path.name for path in found)
        raise ValueError(f"{source.name}: holds several models ({names}); give the path of one")
    return found[0]


def build(config: DacConfig, state: State, where: str) -> Dac:
    """The codec with `state`, under our names, in it."""
    model = Dac(config)
    load_strict(model, state, where)
    return model


def config_from_transformers(values: Mapping[str, Any], where: str) -> DacConfig:
    """Our config of a transformers `config.json`; absent keys have transformers' defaults."""
    ratios = tuple(values.get("downsampling_ratios", (2, 4, 8, 8)))
    _check_mirrored(ratios, values.get("upsampling_ratios"), where)
    encoder_dim = values.get("encoder_hidden_size", 64)
    return DacConfig(
        sample_rate=values.get("sampling_rate", 16000),
        encoder_dim=encoder_dim,
        decoder_dim=values.get("decoder_hidden_size", 1536),
        latent_dim=values.get("hidden_size", encoder_dim * 2 ** len(ratios)),
        ratios=ratios,
        n_codebooks=values.get("n_codebooks", 9),
        codebook_size=values.get("codebook_size", 1024),
        codebook_dim=values.get("codebook_dim", 8),
        quantizer_dropout=float(values.get("quantizer_dropout", 0)),
    )


def config_from_metadata(content: object, where: str) -> DacConfig:
    """Our config of the arguments that Descript's file keeps in its metadata."""
    try:
        values: Mapping[str, Any] = content["metadata"]["kwargs"]  # type: ignore[index]
        ratios, encoder_dim = tuple(values["encoder_rates"]), values["encoder_dim"]
        _check_mirrored(ratios, values["decoder_rates"], where)
        codebook_dim = values["codebook_dim"]
        if not isinstance(codebook_dim, int):
            if len(set(codebook_dim)) != 1:
                raise ValueError(f"{where}: codebooks of several widths {codebook_dim} are not supported")
            codebook_dim = codebook_dim[0]
        return DacConfig(
            sample_rate=values["sample_rate"],
            encoder_dim=encoder_dim,
            decoder_dim=values["decoder_dim"],
            latent_dim=values.get("latent_dim") or encoder_dim * 2 ** len(ratios),
            ratios=ratios,
            n_codebooks=values["n_codebooks"],
            codebook_size=values["codebook_size"],
            codebook_dim=codebook_dim,
            quantizer_dropout=float(values.get("quantizer_dropout", 0)),
        )
    except (KeyError, TypeError, IndexError) as error:
        raise ValueError(
            f"{where}: the file does not say what model it is of: its metadata should hold the arguments of the "
            f"original class, metadata.kwargs.encoder_dim and so on ({type(error).__name__}: {error})"
        ) from None


def _check_mirrored(ratios: tuple[int, ...], decoder: Any, where: str) -> None:
    if decoder is not None and tuple(decoder) != ratios[::-1]:
        raise ValueError(
            f"{where}: the decoder's strides {tuple(decoder)} must be the encoder's {ratios} in reverse order"
        )
