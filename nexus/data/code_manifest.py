"""A folder of sounds as codes for training, in Lhotse's layout, written so that a stopped run goes on.

`cuts.jsonl` has a cut a line (https://lhotse.readthedocs.io): the recording, what is said where a text lies beside
it, and under `codes` a `TemporalArray` [T, K] of int16 (int32 from 32769 codes) in a .npy file. A codec of one channel
makes a cut of each channel; the scales of a codec of windows are listed under `scales`. Lhotse reads it
(`CutSet.from_file`, `cut.load_codes()`); nothing here needs Lhotse.
"""

import hashlib
import io
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nexus.codecs.long_sounds import CodedSound, as_channels, encode_long
from nexus.data.sound_files import find_sounds
from nexus.media.audio_blocks import SoundBlocks, open_blocks
from nexus.media.io import write_atomically

TEXTS = (".normalized.txt", ".txt")  # beside `a.wav`: `a.txt`
MANIFEST, SETTINGS, PARTS = "cuts.jsonl", "tokens.json", "codes"

Progress = Callable[[int, int], None]


@dataclass(frozen=True, kw_only=True)
class Written:
    cuts: int
    seconds: float
    fresh: int  # files encoded now; the others were there
    left_out: tuple[str, ...]  # files that could not be used, and why


def write_manifest(
    folder: Path, output: Path, codec: Any, *, n_codebooks: int | None = None, progress: Progress | None = None
) -> Written:
    """Encodes every sound under `folder` that was not yet, then writes the manifest of all.

    Raises:
        ValueError: no sounds, or `output` holds codes of other weights or settings, or something else.
    """
    files = find_sounds(folder)
    begin(output, codec, n_codebooks)
    cuts: list[dict[str, Any]] = []
    fresh, left_out = 0, []
    for i, path in enumerate(files):
        try:
            found, new = _cuts_of(path, folder, output, codec, n_codebooks)
            cuts, fresh = cuts + found, fresh + new
        except ValueError as error:
            left_out.append(str(error) if str(path) in str(error) else f"{path}: {error}")
        if progress is not None:
            progress(i + 1, len(files))
    lines = "".join(json.dumps(cut, ensure_ascii=False) + "\n" for cut in cuts)
    write_atomically(output / MANIFEST, lines.encode())
    seconds = sum(cut["duration"] for cut in cuts)
    return Written(cuts=len(cuts), seconds=seconds, fresh=fresh, left_out=tuple(left_out))


def begin(output: Path, codec: Any, n_codebooks: int | None) -> None:
    """Makes the folder, or checks that what it holds was made with the same weights and settings."""
    settings = {
        "codec": codec.info.name,
        "weights_hash": codec.info.weights_hash,
        "licence": codec.info.licence,
        "n_codebooks": codec.n_codebooks if n_codebooks is None else n_codebooks,
        "codebook_size": codec.codebook_size,
        "sample_rate": codec.sample_rate,
        "frame_rate": codec.frame_rate,
    }
    if (output / SETTINGS).is_file():
        held = json.loads((output / SETTINGS).read_text())
        other = [
            f"{name} {held.get(name)!r} (now {value!r})" for name, value in settings.items() if held.get(name) != value
        ]
        if other:
            raise ValueError(f"{output} holds codes of {', '.join(other)}; give another folder")
        return
    if output.exists() and any(output.iterdir()):
        raise ValueError(f"{output} is not empty and holds no codes; give a new folder")
    (output / PARTS).mkdir(parents=True, exist_ok=True)
    write_atomically(output / SETTINGS, (json.dumps(settings, indent=1) + "\n").encode())


def _cuts_of(
    path: Path, folder: Path, output: Path, codec: Any, n_codebooks: int | None
) -> tuple[list[dict[str, Any]], int]:
    """The cuts of a file, and 1 where it had to be encoded: its record, written last, says that its codes are whole."""
    name = path.relative_to(folder).as_posix()
    key = hashlib.sha256(name.encode("utf-8", "surrogateescape")).hexdigest()[:20]
    record = output / PARTS / f"{key}.json"
    state = {"bytes": path.stat().st_size, "changed": path.stat().st_mtime_ns}
    if record.is_file():
        held = json.loads(record.read_text())
        if held["state"] == state:
            return held["cuts"], 0
    cuts = list(_encoded(path, name, key, output, codec, n_codebooks))
    write_atomically(record, json.dumps({"state": state, "cuts": cuts}, ensure_ascii=False).encode())
    return cuts, 1


def _encoded(
    path: Path, name: str, key: str, output: Path, codec: Any, n_codebooks: int | None
) -> Iterator[dict[str, Any]]:
    lengths: list[int] = []
    source = open_blocks(path)
    counted = SoundBlocks(rate=source.rate, channels=source.channels, blocks=_counted(source.blocks, lengths))
    sound, _ = as_channels(counted.resample(codec.sample_rate), codec)
    coded = encode_long(codec, sound, n_codebooks)
    recording = _recording(path, name, source, sum(lengths))
    together = codec.channels > 1
    for row, stored in enumerate(_stored(coded, key, output, codec.codebook_size)):
        channels: Any = list(range(source.channels)) if together and source.channels > 1 else row
        # Windows overlap, so that their frames are not equally far apart; Lhotse would cut off what is too much.
        shift = recording["duration"] / coded.codes.shape[-1] if coded.side else 1 / codec.frame_rate
        side = {name: [float(value) for value in values[row]] for name, values in coded.side.items()}
        yield _cut(name, row, channels, recording, {"codes": stored | {"frame_shift": shift}} | side, _text(path))


def _counted(blocks: Iterator[np.ndarray], lengths: list[int]) -> Iterator[np.ndarray]:
    for block in blocks:
        lengths.append(block.shape[1])
        yield block


def _stored(coded: CodedSound, key: str, output: Path, codebook_size: int) -> Iterator[dict[str, Any]]:
    """Writes each row's codes [T, K]; where Lhotse finds them."""
    for row, codes in enumerate(coded.codes):
        array = np.ascontiguousarray(codes.T, dtype=np.int16 if codebook_size <= 1 << 15 else np.int32)
        buffer, file = io.BytesIO(), f"{key}-{row}.npy"
        np.save(buffer, array)
        write_atomically(output / PARTS / file, buffer.getvalue())
        place = {"storage_type": "numpy_files", "storage_path": str((output / PARTS).absolute()), "storage_key": file}
        yield {"array": {**place, "shape": list(array.shape)}, "temporal_dim": 0, "start": 0}


def _recording(path: Path, name: str, source: SoundBlocks, length: int) -> dict[str, Any]:
    channels: Sequence[int] = range(source.channels)
    return {
        "id": name,
        "sources": [{"type": "file", "channels": list(channels), "source": str(path.absolute())}],
        "sampling_rate": source.rate,
        "num_samples": length,
        "duration": length / source.rate,
        "channel_ids": list(channels),
    }


def _cut(
    name: str, row: int, channels: Any, recording: dict[str, Any], custom: dict[str, Any], text: str
) -> dict[str, Any]:
    key, duration = f"{name}-{row}", recording["duration"]
    said = {"id": key, "recording_id": name, "start": 0.0, "duration": duration, "channel": channels, "text": text}
    return {
        "id": key,
        "start": 0.0,
        "duration": duration,
        "channel": channels,
        "supervisions": [said] if text else [],
        "recording": recording,
        "custom": custom,
        "type": "MonoCut" if isinstance(channels, int) else "MultiCut",
    }


def _text(path: Path) -> str:
    """What is said, from a text file of the same name."""
    for suffix in TEXTS:
        beside = path.with_name(path.stem + suffix)
        if beside.is_file():
            return beside.read_text(encoding="utf-8").strip()
    return ""
