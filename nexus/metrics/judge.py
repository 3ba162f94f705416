"""What a judge is: who made it, what it needs, and the values it gives to an item."""

import hashlib
import importlib
import importlib.metadata
import importlib.util
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from nexus.media import Audio
from nexus.metrics.figures import Better


class MissingJudge(Exception):
    """A judge whose package or weights are not on the machine; says which it wants and where they go."""


@dataclass(frozen=True, kw_only=True)
class Sample:
    """A sound or a film that was made, and what it was made from."""

    prompt: str
    made: Any  # Audio or Video
    reference: Any = None  # what it should equal, or be near to; of the same kind
    voice: Audio | None = None  # whom it should sound like


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """A judge's values of one item by name of measure, NaN where it could not judge, and words about it."""

    values: Mapping[str, float]
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Measure:
    """One of a judge's values; `weight` is an item's share in the mean (words of a sentence), else all are equal."""

    name: str
    unit: str = ""
    better: Better = "higher"
    weight: Callable[[Any], float] | None = None


@dataclass(frozen=True, kw_only=True)
class Judge:
    name: str
    version: str  # of the package that brings it
    measures: tuple[Measure, ...]
    values: Callable[[Any], Verdict]
    weights: str = ""  # digest of its weights
    rate: int | None = None  # Hz that it hears at; None as the sounds come
    crop: str = ""
    needs: tuple[str, ...] = field(default=())  # fields of a sample without which it has nothing to say


# Installed with --no-deps (requirements-eval.txt): what they list as needed is never used here, and hard to build.
ALONE = ("Resemblyzer", "torchcrepe", "whisper-normalizer", "basic-pitch", "mir_eval", "resampy")


def need(module: str, judge: str, package: str | None = None) -> ModuleType:
    """Imports the package that a judge comes in; warnings that it makes while importing are not ours.

    Raises:
        MissingJudge: it, or one that it imports, is not installed.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return importlib.import_module(module)
    except ImportError as error:
        wanted = (package or module).split(".")[0]
        lost = f" ({error.name} is missing)" if error.name and error.name.split(".")[0] != wanted else ""
        raise MissingJudge(f"{judge} wants the package {wanted}{lost}: {how_to_get(wanted)}") from None


def how_to_get(package: str) -> str:
    return f"pip install --no-deps {package}" if package in ALONE else "pip install 'nexus-media[eval]'"


def package_file(package: str, path: str, judge: str, distribution: str | None = None) -> Path:
    """A file inside an installed package, which is not imported.

    Raises:
        MissingJudge: the package or the file is not there.
    """
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        wanted = distribution or package
        raise MissingJudge(f"{judge} wants the package {wanted}: {how_to_get(wanted)}")
    file = Path(spec.origin).parent / path
    if not file.is_file():
        raise MissingJudge(f"{judge} wants {path} in the folder of the package {package} ({file.parent})")
    return file


def version(distribution: str) -> str:
    """Of an installed package, with its name: "pesq 0.0.4"."""
    return f"{distribution} {importlib.metadata.version(distribution)}"


@cache
def digest(*files: Path) -> str:
    """SHA-256 over files, one after another; 16 hex digits."""
    whole = hashlib.sha256()
    for path in files:
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                whole.update(block)
    return whole.hexdigest()[:16]
