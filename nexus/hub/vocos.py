"""Vocos's official weights, `config.yaml` beside `pytorch_model.bin`: charactr's mel and EnCodec-token models."""

from collections.abc import Mapping
from typing import Any

from nexus.codecs.vocos import CodesConfig, Vocos, VocosConfig
from nexus.hub.source import Source
from nexus.hub.tensors import State, drop, load_strict, read_tensors, rename

RULES = (
    (r"^backbone\.(embed)\.", r"\1.conv."),
    (r"^backbone\.convnext\.", "blocks."),
    (r"^backbone\.final_layer_norm\.", "final_norm."),
    (r"^backbone\.", ""),
    (r"\.dwconv\.", ".conv.conv."),
    (r"\.pwconv1\.", ".proj_in."),
    (r"\.pwconv2\.", ".proj_out."),
    (r"norm\.scale\.weight$", "norm.weight"),
    (r"norm\.shift\.weight$", "norm.bias"),
    (r"^head\.out\.", "head."),
    (r"^feature_extractor\.codebook_weights$", "codebooks"),
)
# Tables that follow from the config (windows, mel filters), and the EnCodec that some training runs kept beside it.
LEFTOVERS = (
    r"^head\.istft\.window$",
    r"^feature_extractor\.mel_spec\.(spectrogram\.window|mel_scale\.fb)$",
    r"^feature_extractor\.encodec\.",
)
_ENCODEC_BITS = 10 * 75 / 1000  # kbps of one codebook at 24 kHz


def recognise(source: Source) -> bool:
    return not source.config and source.has("config.yaml", "pytorch_model.bin") and "backbone" in _yaml(source)


def kind(source: Source) -> str:
    return Vocos.__name__


def load(source: Source) -> Vocos:
    config = config_from_yaml(_yaml(source), source.name)
    return build(config, read_tensors(source.part("pytorch_model.bin")), source.name)


def build(config: VocosConfig, tensors: State, where: str) -> Vocos:
    state = rename(drop(tensors, *LEFTOVERS), RULES)
    if config.codes is not None and "codebooks" in state:
        codes = config.codes
        state["codebooks"] = state["codebooks"].view(codes.n_codebooks, codes.codebook_size, -1)
    model = Vocos(config)
    load_strict(model, state, where)
    return model


def config_from_yaml(values: Mapping[str, Any], where: str) -> VocosConfig:
    """Our config of the three classes and their arguments that a `config.yaml` names."""
    features, backbone, head = (_part(values, name, where) for name in ("feature_extractor", "backbone", "head"))
    kinds = [part[0] for part in (features, backbone, head)]
    if kinds[0] not in ("MelSpectrogramFeatures", "EncodecFeatures") or kinds[1:] != ["VocosBackbone", "ISTFTHead"]:
        raise ValueError(
            f"{where}/config.yaml: {', '.join(kinds)} is not supported; MelSpectrogramFeatures or EncodecFeatures "
            "with VocosBackbone and ISTFTHead are"
        )
    of_codes = kinds[0] == "EncodecFeatures"
    codes = None
    if of_codes:
        if features[1].get("encodec_model", "encodec_24khz") != "encodec_24khz":
            raise ValueError(f"{where}/config.yaml: only the codes of encodec_24khz are supported")
        bandwidths = tuple(float(b) for b in features[1].get("bandwidths", (1.5, 3.0, 6.0, 12.0)))
        codes = CodesConfig(n_codebooks=int(max(bandwidths) / _ENCODEC_BITS), bandwidths=bandwidths)
        rows = backbone[1].get("adanorm_num_embeddings")
        if rows != len(bandwidths):
            raise ValueError(f"{where}/config.yaml: {rows} norms for {len(bandwidths)} bandwidths")
    return VocosConfig(
        sample_rate=24000 if of_codes else features[1].get("sample_rate", 24000),
        n_fft=head[1]["n_fft"],
        hop_length=head[1]["hop_length"],
        n_features=backbone[1]["input_channels"],
        padding=head[1].get("padding", "same"),
        dim=backbone[1]["dim"],
        hidden_dim=backbone[1]["intermediate_dim"],
        n_layers=backbone[1]["num_layers"],
        codes=codes,
    )


def _part(values: Mapping[str, Any], name: str, where: str) -> tuple[str, Mapping[str, Any]]:
    try:
        return values[name]["class_path"].rsplit(".", 1)[-1], values[name].get("init_args", {})
    except (KeyError, TypeError, AttributeError):
        raise ValueError(f"{where}/config.yaml: {name} has no class_path") from None


def _yaml(source: Source) -> Mapping[str, Any]:
    import yaml

    path = source.path / "config.yaml"
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: not valid YAML ({str(error).splitlines()[0]})") from None
    return values if isinstance(values, Mapping) else {}
