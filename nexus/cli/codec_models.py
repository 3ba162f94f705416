"""Which codec a command of `nexus codec` is to use, and how much of it."""

from typing import Any

from nexus.cli.codec_files import Format
from nexus.cli.progress import Watch

CODECS = ("Encodec", "WindowedEncodec", "Dac", "Mimi", "FSQCodec", "SoundStream", "FACodec", "SpectralCodec")


def load_codec(name: str, allowed: tuple[str, ...], device: str, watch: Watch) -> Any:
    """In full precision, so that the codes are the same everywhere.

    Raises:
        ValueError: a model of another kind than those allowed.
    """
    import nexus

    check_codec(name, allowed)
    watch.stage(f"loading {name}")
    return nexus.load(name, device=device, dtype="fp32")


def check_codec(name: str, allowed: tuple[str, ...] = CODECS) -> None:
    """Raises ValueError, before any weights are read, for a model of another kind."""
    from nexus.hub.load import kind_of

    found = kind_of(name)
    if found not in allowed:
        raise ValueError(f"{name} is a {found}, and this needs a {' or '.join(allowed)}; `nexus models` lists ours")


def load_lm(name: str | None, kind: Format, device: str, watch: Watch) -> Any:
    """Raises ValueError where the format knows no language models."""
    if name is not None and not kind.takes_lm:
        raise ValueError("--lm is for .ecdc files; leave it out")
    return None if name is None else load_codec(name, ("EncodecLM",), device, watch)


def choose(codec: Any, bitrate: float | None, codebooks: int | None) -> int | None:
    """How many codebooks; None for all.

    Raises:
        ValueError: both are given, or more or fewer than the codec has.
    """
    from nexus.codecs.long_sounds import chooses_codebooks, codebooks_at

    if bitrate is not None and codebooks is not None:
        raise ValueError("give --bitrate or --codebooks, not both")
    if bitrate is not None:
        return codebooks_at(codec, bitrate)
    if codebooks is None or codebooks == codec.n_codebooks:
        return None
    if codebooks > codec.n_codebooks or not chooses_codebooks(codec):
        fewer = "1 to " if chooses_codebooks(codec) else ""
        raise ValueError(f"{codec.info.name} takes {fewer}{codec.n_codebooks} codebooks, got {codebooks}")
    return codebooks
