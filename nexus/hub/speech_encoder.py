"""Self-supervised speech encoders in transformers' layout: wav2vec 2.0, HuBERT, w2v-BERT 2.0."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from nexus.codecs.semantic import SpeechEncoder
from nexus.hub.source import Source

# model_type in config.json: the class without a head.
CLASSES = {
    "wav2vec2": "Wav2Vec2Model",
    "hubert": "HubertModel",
    "wav2vec2-bert": "Wav2Vec2BertModel",
}
_UNUSED = ("masked_spec_embed",)  # of training only; some files are without it


def load_speech_encoder(source: Source, layer: int) -> SpeechEncoder:
    """The encoder up to `layer` (1 is the first).

    Raises:
        ValueError: another kind of model, tensors that are missing, a layer that it does not have.
    """
    import transformers

    found = source.config.get("model_type")
    if found not in CLASSES:
        held = "no config.json" if found is None else f"a {found}"
        raise ValueError(f"{source.name} is {held}, and semantic tokens need one of {', '.join(CLASSES)}")
    model, report = _load(getattr(transformers, CLASSES[found]), source)
    missing = [name for name in report["missing_keys"] if name not in _UNUSED]
    problems = [*missing, *(str(one[0]) for one in report["mismatched_keys"])]
    if problems:
        raise ValueError(f"{source.name}: {len(problems)} tensors missing or misshapen: {', '.join(problems[:3])}")
    try:
        return SpeechEncoder(model, _extractor(source, found), layer)
    except ValueError as error:
        raise ValueError(f"{source.name}: {error}") from None


def _load(kind: Any, source: Source) -> tuple[Any, dict[str, Any]]:
    """The model, and which tensors did not find their place."""
    try:
        with _quiet():
            return kind.from_pretrained(
                str(source.path), local_files_only=True, output_loading_info=True, dtype="float32"
            )
    except (OSError, RuntimeError, KeyError) as error:
        raise ValueError(
            f"{source.name}: not a readable {kind.__name__} ({str(error).splitlines()[0][:200]})"
        ) from None


@contextmanager
def _quiet() -> Iterator[None]:
    """What transformers says of tensors and draws of progress is not ours to say."""
    from transformers.utils import logging as said

    log, drawn = logging.getLogger("transformers"), said.is_progress_bar_enabled()
    level = log.level
    log.setLevel(logging.ERROR)
    said.disable_progress_bar()
    try:
        yield
    finally:
        log.setLevel(level)
        if drawn:
            said.enable_progress_bar()


def _extractor(source: Source, kind: str) -> Any:
    """As the folder says; where it says nothing, what the published models have."""
    import transformers

    if kind == "wav2vec2-bert":
        extractor = transformers.SeamlessM4TFeatureExtractor
    else:
        extractor = transformers.Wav2Vec2FeatureExtractor
    if source.has("preprocessor_config.json"):
        return extractor.from_pretrained(str(source.path), local_files_only=True)
    return extractor()
