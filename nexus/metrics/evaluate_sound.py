"""How often a made sound is of the kind that its caption names, as a classifier taught on real clips hears it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from nexus.data.sound import KINDS, SoundClip, synthesize
from nexus.media import Audio
from nexus.metrics.chance import other_prompts
from nexus.metrics.clap import clap_judge
from nexus.metrics.fad import chosen_fad
from nexus.metrics.figures import Evaluation
from nexus.metrics.judge import Judge, Measure, Sample, Verdict
from nexus.metrics.judging import Progress, describe_silence, items_of, judge_all, present, require_items
from nexus.metrics.neighbours import RATE, Neighbours
from nexus.metrics.prompted import make, through_codec

SECONDS = 4.0
EXAMPLES = 8  # of each kind, from the training split
RIGHT = "kind right"


@dataclass(frozen=True, kw_only=True)
class Noise(Sample):
    heard: str  # kind of sound
    asked: str


def kinds_classifier(examples: int = EXAMPLES, kinds: Sequence[str] = tuple(KINDS)) -> Neighbours:
    """Taught on clips of the training split, of every kind equally many."""
    labels = np.repeat(np.array(kinds, dtype=object), examples).tolist()
    return Neighbours([synthesize(i, "train", kind).audio for i, kind in enumerate(labels)], labels)


def kind_judge(classifier: Neighbours) -> Judge:
    def values(sample: Noise) -> Verdict:
        return Verdict(values={RIGHT: 100.0 * (sample.heard == sample.asked)}, note=f"heard as {sample.heard}")

    return Judge(
        name=f"3 nearest of {len(classifier.labels)} training clips",
        version="nexus 2",
        weights=classifier.digest,
        rate=RATE,
        measures=(Measure(name=RIGHT, unit="%"),),
        values=values,
    )


def evaluate_sound(
    model: Any,
    split: Literal["train", "valid"] = "valid",
    *,
    items: int = 64,
    seed: int = 0,
    fad: str | None = None,
    classifier: Neighbours | None = None,
    progress: Progress | None = None,
) -> Evaluation:
    """Figures of the model, and of the clips themselves, their way through its codec, and the prompts of other items.

    `fad` names an embedding of `nexus.metrics.fad` whose distance is wanted too.

    Raises:
        ValueError: a model of another kind, or fewer than two items.
    """
    require_prompted(model, items)
    clips = [synthesize(i, split) for i in range(items)]
    if progress is not None:
        progress(0, 1, "teaching the classifier")
    classifier = kinds_classifier() if classifier is None else classifier
    judges, left_out = present((lambda: kind_judge(classifier), clap_judge))
    made = make(model, [clip.caption for clip in clips], seed=seed, progress=progress, duration=SECONDS)

    ours = noises(clips, made, classifier)
    judged = judge_all(ours, judges, seed=seed, what="what was made", progress=progress)
    real = [clip.audio for clip in clips]
    coded = [through_codec(model.codec, audio) for audio in real]
    distance = chosen_fad(fad, made, real, seed=seed)
    return Evaluation(
        kind="sound",
        model=model.info.name,
        data=f"sound {split}",
        figures=(*judged.figures, *distance.found),
        baselines={
            "the clips": judge_all(noises(clips, real, classifier), judges, seed=seed).figures,
            "the clips through the codec": judge_all(noises(clips, coded, classifier), judges, seed=seed).figures,
            "other prompts (chance)": other_prompts(ours, judges[:1], seed=seed),
        },
        items=items_of(ours, judged.verdicts),
        left_out=(*left_out, *judged.left_out, *distance.left_out, *describe_silence(ours)),
    )


def noises(clips: Sequence[SoundClip], sounds: Sequence[Audio], classifier: Neighbours) -> list[Noise]:
    return [
        Noise(
            prompt=clip.caption,
            made=sound,
            reference=clip.audio,
            heard=classifier.classify(sound),
            asked=clip.facts["kind"],
        )
        for clip, sound in zip(clips, sounds, strict=True)
    ]


def require_prompted(model: Any, items: int) -> None:
    """Raises ValueError for a model that makes no sound of a prompt, or too few items for an interval."""
    if type(model).__name__ != "MusicGen":
        raise ValueError(f"a {type(model).__name__} makes no music or sound of a prompt; needed is a MusicGen")
    require_items(items)
