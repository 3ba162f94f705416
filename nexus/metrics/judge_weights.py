"""Where the weights of judges lie that do not come as packages: a folder of the user's, a folder or file for each."""

import os
from logging import CRITICAL
from pathlib import Path

from nexus.metrics.judge import MissingJudge

TENSORS = ("model.safetensors", "pytorch_model.bin")


def judges_folder() -> Path:
    """`NEXUS_JUDGES`, or the place that this system keeps for caches."""
    if chosen := os.environ.get("NEXUS_JUDGES"):
        return Path(chosen).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "nexus" / "judges"


def judge_file(judge: str, name: str, source: str) -> Path:
    """A file of weights.

    Args:
        judge: who wants it, as a report names him.
        name: of the file in the judges' folder.
        source: where people get it.

    Raises:
        MissingJudge: it is not there; says where it goes and where it comes from.
    """
    file = judges_folder() / name
    if not file.is_file():
        raise MissingJudge(f"{judge} wants {source} as {file}")
    return file


def judge_weights(judge: str, name: str, source: str) -> Path:
    """The file of tensors in a folder as `transformers` reads it, with its `config.json`.

    Raises:
        MissingJudge: one of them is not there; says where the folder goes and where it comes from.
    """
    folder = judges_folder() / name
    tensors = [folder / file for file in TENSORS if (folder / file).is_file()]
    if not tensors or not (folder / "config.json").is_file():
        raise MissingJudge(f"{judge} wants the files of {source} (config.json, {TENSORS[0]} …) in {folder}")
    return tensors[0]


def from_folder(model: type, folder: Path, judge: str, processor: type | None = None, **how: bool) -> tuple:
    """A frozen model of `transformers` in fp32, and what prepares its input, from files alone.

    Raises:
        MissingJudge: a file is missing, or is not of this model; says which judge and what went wrong.
    """
    import torch
    from safetensors import SafetensorError
    from transformers.utils import logging

    from nexus.text.encoders import without_progress_bars

    told_of = logging.get_verbosity()
    logging.set_verbosity(CRITICAL)  # it lists tensors; one sentence is enough
    try:
        with without_progress_bars():
            loaded, told = model.from_pretrained(  # type: ignore[attr-defined]
                folder, local_files_only=True, dtype=torch.float32, output_loading_info=True, **how
            )
        ready = None if processor is None else processor.from_pretrained(folder, local_files_only=True)  # type: ignore[attr-defined]
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        said = str(error).strip().split("\n")[0]
        raise MissingJudge(f"{judge} cannot be read from {folder}: {said}") from None
    finally:
        logging.set_verbosity(told_of)
    if told["missing_keys"]:  # transformers would fill them with noise
        some = ", ".join(sorted(told["missing_keys"])[:3])
        raise MissingJudge(f"{judge} cannot be read from {folder}: tensors are missing ({some} …)")
    return loaded.eval().requires_grad_(False), ready
