"""`.nemo` archives: a tar of `model_config.yaml` and `model_weights.ckpt`, read where they lie.

Archives come from anywhere, so nothing in them is trusted: nothing is unpacked to disk, no name in them becomes a
path, no object of a pickle or of YAML is built beyond tensors and plain values, and what they claim to hold is held
against limits before memory is taken for it.
"""

import io
import pickle
import tarfile
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

import torch
import yaml

from nexus.hub.tensors import State, unwrap

CONFIG, WEIGHTS = "model_config.yaml", "model_weights.ckpt"
MOST_MEMBERS = 1000
LARGEST_CONFIG = 1 << 20  # bytes
LARGEST_WEIGHTS = 16 << 30
# What YAML may nest and how many anchors it may repeat: a config needs few levels and no anchors at all.
DEEPEST_CONFIG = 50


def read_config(path: Path) -> dict[str, Any]:
    """The configuration of an archive, plain values only.

    Raises:
        ValueError: not an archive of this kind, or one that could do harm.
    """
    with _member(path, CONFIG, LARGEST_CONFIG) as file:
        text = file.read(LARGEST_CONFIG + 1)
    try:
        events = list(yaml.parse(text, Loader=yaml.SafeLoader))
        _refuse_bombs(events, path)
        values = yaml.safe_load(text)
    except (yaml.YAMLError, UnicodeError, RecursionError, ValueError) as error:
        raise ValueError(f"{path}: {CONFIG} is not plain YAML ({str(error).splitlines()[0][:120]})") from None
    if not isinstance(values, dict):
        raise ValueError(f"{path}: {CONFIG} holds {type(values).__name__}, expected a mapping")
    if odd := [name for name in values if not isinstance(name, str)]:
        raise ValueError(f"{path}: {CONFIG} has settings that no word names, such as {odd[0]!r}")
    return values


def read_weights(path: Path) -> State:
    """The tensors of an archive.

    Raises:
        ValueError: not an archive of this kind, or one that could do harm.
    """
    with _member(path, WEIGHTS, LARGEST_WEIGHTS) as file:
        size = _check_zip(file, path)
        try:
            content = torch.load(file, map_location="cpu", weights_only=True)  # type: ignore[arg-type]
        except pickle.UnpicklingError as error:
            raise ValueError(
                f"{path}: refused, the pickle in {WEIGHTS} holds more than tensors and could execute code "
                f"({str(error).splitlines()[0][:120]})"
            ) from None
        except Exception as error:  # what a damaged pickle trips over has no end of kinds
            raise ValueError(f"{path}: {WEIGHTS} is damaged ({type(error).__name__})") from None
    state = unwrap(content, path)
    if any(tensor.layout != torch.strided or tensor.device.type != "cpu" for tensor in state.values()):
        raise ValueError(f"{path}: refused, {WEIGHTS} holds tensors that are not plain")
    if sum(tensor.numel() * tensor.element_size() for tensor in state.values()) > size:
        raise ValueError(f"{path}: refused, the tensors of {WEIGHTS} claim more than its own {size} bytes")
    return state


@contextmanager
def _member(path: Path, name: str, largest: int) -> Iterator[io.BufferedIOBase]:
    """One member of the archive, open and seekable."""
    try:
        with tarfile.open(path, "r:*") as archive:
            member = _find(archive, name, path)
            if member.size > largest:
                raise ValueError(f"{path}: {name} claims {member.size} bytes, more than the {largest} allowed")
            file = archive.extractfile(member)
            assert isinstance(file, io.BufferedReader), "a regular file"
            yield file if _is_plain(path) else io.BytesIO(file.read(largest))
    except (tarfile.TarError, EOFError, OSError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path}: not a readable .nemo archive ({str(error).splitlines()[0][:120]})") from None


def _find(archive: tarfile.TarFile, name: str, path: Path) -> tarfile.TarInfo:
    found = []
    for i, member in enumerate(archive):
        parts = PurePosixPath(member.name).parts
        if i >= MOST_MEMBERS:
            raise ValueError(f"{path}: more than {MOST_MEMBERS} files; a .nemo archive has a few")
        if member.name.startswith("/") or ".." in parts or "\\" in member.name:
            raise ValueError(f"{path}: refused, it holds {member.name[:80]!r}, a path out of the archive")
        if not (member.isfile() or member.isdir()):
            raise ValueError(f"{path}: refused, {member.name[:80]!r} is a link or a device, not a file")
        if member.isfile() and parts == (name,):
            found.append(member)
    if len(found) != 1:
        raise ValueError(f"{path}: it holds {name} {len(found)} times, expected once")
    return found[0]


def _is_plain(path: Path) -> bool:
    """Whether the tar is not compressed, so that its members can be read in any order where they lie."""
    try:
        with tarfile.open(path, "r:"):
            return True
    except tarfile.ReadError:
        return False


def _check_zip(file: io.BufferedIOBase, path: Path) -> int:
    """Size of the file; torch stores tensors in a zip without compression, so together they are no larger."""
    size = file.seek(0, io.SEEK_END)
    file.seek(0)
    try:
        with zipfile.ZipFile(file) as archive:
            records = archive.infolist()
    except (zipfile.BadZipFile, NotImplementedError, ValueError, OverflowError) as error:
        raise ValueError(f"{path}: {WEIGHTS} is no torch file ({str(error)[:120]})") from None
    if any(record.compress_type != zipfile.ZIP_STORED for record in records):
        raise ValueError(f"{path}: refused, {WEIGHTS} is compressed, which torch does not do")
    if sum(record.file_size for record in records) > size:
        raise ValueError(f"{path}: refused, {WEIGHTS} claims to hold more than its own {size} bytes")
    file.seek(0)
    return size


def _refuse_bombs(events: list[yaml.Event], path: Path) -> None:
    depth = 0
    for event in events:
        if isinstance(event, yaml.AliasEvent):
            raise ValueError("it repeats itself by aliases")
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > DEEPEST_CONFIG:
            raise ValueError(f"it is nested more than {DEEPEST_CONFIG} deep")


def section(values: Mapping[str, Any], name: str, where: str) -> Mapping[str, Any]:
    """A part of the configuration that must be there."""
    part = values.get(name)
    if not isinstance(part, Mapping):
        raise ValueError(f"{where}: {CONFIG} has no {name}")
    return part
