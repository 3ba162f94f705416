"""How often music has the tempo, key and style that its prompt asks for, and follows the melody it is given."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from nexus.data.music import Piece, compose, render
from nexus.data.music.styles import STYLES
from nexus.data.music.theory import Key
from nexus.media import Audio
from nexus.metrics.beats import beat_alignment, beat_judge
from nexus.metrics.chance import other_prompts
from nexus.metrics.clap import clap_judge
from nexus.metrics.essentia import RATE as HEARD_AT
from nexus.metrics.essentia import standard
from nexus.metrics.evaluate_sound import require_prompted
from nexus.metrics.fad import chosen_fad
from nexus.metrics.figures import Evaluation, Figure
from nexus.metrics.judge import Judge, Measure, MissingJudge, Sample, Verdict, version
from nexus.metrics.judging import Progress, describe_silence, items_of, judge_all, present
from nexus.metrics.key import chroma_similarity, key_of, mirex_score, pitch_classes, share_in_scale
from nexus.metrics.neighbours import RATE as CLASSIFIER_RATE
from nexus.metrics.neighbours import Neighbours
from nexus.metrics.notes import Note, notes_judge, notes_of
from nexus.metrics.prompted import make, through_codec
from nexus.metrics.tempo import tempo_of, tempo_right

SECONDS = 10.0
RATE = 24_000
EXAMPLES = 8  # of each style, from the training split
TEMPO, OCTAVE, KEY, MIREX, SCALE = (
    "tempo right", "tempo right, double or half", "key right", "MIREX-weighted key", "pitch energy in the scale",
)  # fmt: skip
STYLE, MELODY = "style right", "chroma similarity to the melody"


@dataclass(frozen=True, kw_only=True)
class Heard:
    """What the judges hear, once for all prompts that it is held against."""

    tempo: float  # beats a minute; NaN where the judge is missing
    key: Key | None  # None in silence, and where the judge is missing
    shares: np.ndarray  # of the 12 pitch classes
    style: str
    notes: tuple[Note, ...] = ()
    alignment: float = float("nan")  # of the beats; NaN where there are none


@dataclass(frozen=True, kw_only=True)
class Played(Sample):
    heard: Heard
    asked: Piece


def hear(audio: Audio, styles: Neighbours) -> Heard:
    return Heard(
        tempo=_or(float("nan"), lambda: tempo_of(audio)),
        key=_or(None, lambda: key_of(audio)),
        shares=pitch_classes(audio),
        style=styles.classify(audio),
        notes=_or((), lambda: notes_of(audio)),
        alignment=_or(float("nan"), lambda: beat_alignment(audio)),
    )


def _or(otherwise: Any, hear: Callable[[], Any]) -> Any:
    """What is heard, or else, where the judge is missing or there is nothing to hear."""
    try:
        return hear()
    except (MissingJudge, ValueError):
        return otherwise


def tempo_judge() -> Judge:
    """Raises MissingJudge."""
    standard("the judge of tempo")

    def values(sample: Played) -> Verdict:
        heard, asked = sample.heard.tempo, float(sample.asked.tempo)
        right = {TEMPO: tempo_right(heard, asked), OCTAVE: tempo_right(heard, asked, (1, 2, 0.5))}
        return Verdict(values={name: 100.0 * yes for name, yes in right.items()}, note=f"{heard:.0f} bpm")

    measures = (Measure(name=TEMPO, unit="%"), Measure(name=OCTAVE, unit="%"))
    return Judge(name="RhythmExtractor2013, multifeature", version=version("essentia"), rate=HEARD_AT,
                 measures=measures, values=values)  # fmt: skip


def key_judge() -> Judge:
    """Raises MissingJudge."""
    standard("the judge of keys")

    def values(sample: Played) -> Verdict:
        key = sample.heard.key
        scores = {KEY: 100.0 * (key == sample.asked.key), MIREX: mirex_score(key, sample.asked.key)}
        return Verdict(values=scores, note="no key" if key is None else key.name)

    measures = (Measure(name=KEY, unit="%"), Measure(name=MIREX))
    return Judge(name="KeyExtractor, Krumhansl's profiles", version=version("essentia"), rate=HEARD_AT,
                 measures=measures, values=values)  # fmt: skip


def scale_judge() -> Judge:
    def values(sample: Played) -> Verdict:
        return Verdict(values={SCALE: 100 * share_in_scale(sample.heard.shares, sample.asked.key)})

    measures = (Measure(name=SCALE, unit="%"),)
    return Judge(name="chroma", version="nexus 1", measures=measures, values=values)


def style_judge(styles: Neighbours) -> Judge:
    def values(sample: Played) -> Verdict:
        right = 100.0 * (sample.heard.style == sample.asked.style)
        return Verdict(values={STYLE: right}, note=f"heard as {sample.heard.style}")

    return Judge(
        name=f"3 nearest of {len(styles.labels)} training pieces",
        version="nexus 2",
        weights=styles.digest,
        rate=CLASSIFIER_RATE,
        measures=(Measure(name=STYLE, unit="%"),),
        values=values,
    )


def melody_judge() -> Judge:
    def values(sample: Sample) -> Verdict:
        assert sample.reference is not None
        return Verdict(values={MELODY: chroma_similarity(sample.made, sample.reference)})

    return Judge(
        name="chroma", version="nexus 1", measures=(Measure(name=MELODY),), values=values, needs=("reference",)
    )


def styles_classifier(seconds: float | int = SECONDS, examples: int = EXAMPLES) -> Neighbours:
    """Taught on pieces of the training split, of every style equally many, as long as what is judged."""
    labels = [style.name for style in STYLES for _ in range(examples)]
    pieces = [compose(i, "train", seconds=seconds, style=style) for i, style in enumerate(labels)]
    return Neighbours([render(piece, seconds, RATE) for piece in pieces], labels)


def prompt_of(piece: Piece) -> str:
    return f"{piece.style}, {piece.tempo} bpm, {piece.key.name}"


def evaluate_music(
    model: Any,
    split: Literal["train", "valid"] = "valid",
    *,
    items: int = 40,
    seconds: float | int = SECONDS,
    seed: int = 0,
    fad: str | None = None,
    styles: Neighbours | None = None,
    progress: Progress | None = None,
) -> Evaluation:
    """Figures of the model, and of the pieces themselves, their way through its codec, and the prompts of other items.

    A model that takes melodies plays each prompt a second time along its piece; the baseline is the next piece's
    melody. `fad` names an embedding of `nexus.metrics.fad` whose distance is wanted too.

    Raises:
        ValueError: a model of another kind, or fewer than two items.
    """
    require_prompted(model, items)
    if progress is not None:
        progress(0, 1, "teaching the classifier")
    styles = styles_classifier(seconds) if styles is None else styles
    asking, left_out = present((tempo_judge, key_judge, scale_judge, lambda: style_judge(styles), notes_judge))
    plain, not_there = present((beat_judge, clap_judge))
    there = (*asking, *plain)
    pieces = [compose(i, split, seconds=seconds) for i in range(items)]
    real = [render(piece, seconds, RATE) for piece in pieces]
    prompts = [prompt_of(piece) for piece in pieces]
    made = make(model, prompts, seed=seed, progress=progress, duration=seconds)
    ours = played(pieces, made, real, styles)
    coded = played(pieces, [through_codec(model.codec, audio) for audio in real], real, styles)
    judged = judge_all(ours, there, seed=seed, what="what was made", progress=progress)
    baselines = {
        "the pieces": judge_all(played(pieces, real, real, styles), there, seed=seed).figures,
        "the pieces through the codec": judge_all(coded, there, seed=seed).figures,
        "other prompts (chance)": other_prompts(ours, asking, seed=seed),
    }
    following: tuple[Figure, ...] = ()
    if getattr(model.config, "melody", None) is not None:
        following, shuffled = melodies(model, prompts, real, seconds, seed)
        baselines["another piece's melody"] = shuffled
    distance = chosen_fad(fad, made, real, seed=seed)
    return Evaluation(
        kind="music",
        model=model.info.name,
        data=f"music {split}, {seconds:g} s",
        figures=(*judged.figures, *following, *distance.found),
        baselines=baselines,
        items=items_of(ours, judged.verdicts),
        left_out=(*left_out, *not_there, *judged.left_out, *distance.left_out, *describe_silence(ours)),
    )


def played(
    pieces: Sequence[Piece], sounds: Sequence[Audio], references: Sequence[Audio], styles: Neighbours
) -> list[Played]:
    return [
        Played(prompt=prompt_of(piece), made=sound, reference=reference, heard=hear(sound, styles), asked=piece)
        for piece, sound, reference in zip(pieces, sounds, references, strict=True)
    ]


def melodies(
    model: Any, prompts: Sequence[str], pieces: Sequence[Audio], seconds: float | int, seed: int
) -> tuple[tuple[Figure, ...], tuple[Figure, ...]]:
    """Likeness to the melody that was given, and to that of the next item."""
    made = [
        model.generate(prompt, melody=piece, duration=seconds, seed=seed + i)
        for i, (prompt, piece) in enumerate(zip(prompts, pieces, strict=True))
    ]
    given, other = (
        judge_all(
            [Sample(prompt=p, made=m, reference=r) for p, m, r in zip(prompts, made, references, strict=True)],
            [melody_judge()],
            seed=seed,
        ).figures
        for references in (pieces, [*pieces[1:], pieces[0]])
    )
    return given, other
