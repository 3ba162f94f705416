"""Whether CLAP finds the words of a sound: a caption of its kind among many, a piece's prompt before a wrong one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from nexus.data.music import Piece, compose, render
from nexus.data.music.styles import STYLES
from nexus.data.music.theory import Key
from nexus.data.sound import synthesize
from nexus.hub.load import load
from nexus.media import Audio
from nexus.metrics.chance import other_prompts
from nexus.metrics.evaluate_music import RATE, SECONDS, prompt_of
from nexus.metrics.figures import Evaluation, Figure
from nexus.metrics.judge import Judge, Measure, Sample, Verdict
from nexus.metrics.judging import Judged, Progress, items_of, judge_all, require_items
from nexus.metrics.prompted import through_codec
from nexus.models.audio.clap import Clap

CODEC = "nexus/encodec-tiny"  # what CLAP ranks has passed it
NEAREST = "nearest caption of its kind"
FASTER = 1.15


@dataclass(frozen=True, kw_only=True)
class Found(Sample):
    kind: str  # of the nearest caption
    caption: str
    asked: str


def nearest_judge(n: int) -> Judge:
    def values(sample: Found) -> Verdict:
        right = 100.0 * (sample.kind == sample.asked)
        return Verdict(values={NEAREST: right}, note=f"nearest: {sample.caption}")

    measures = (Measure(name=NEAREST, unit="%"),)
    return Judge(name=f"{n} captions", version="nexus 1", measures=measures, values=values)


def evaluate_clap_sound(
    model: Clap,
    split: Literal["train", "valid"] = "valid",
    *,
    items: int = 64,
    seed: int = 0,
    codec: Any = None,
    progress: Progress | None = None,
) -> Evaluation:
    """How often the nearest of all items' captions is of the sound's kind; also through a codec, ours unless given.

    Raises:
        ValueError: fewer than two items.
    """
    require_items(items)
    clips = [synthesize(i, split) for i in range(items)]
    captions, kinds = [clip.caption for clip in clips], [clip.facts["kind"] for clip in clips]
    read, judge = model.embed_texts(captions), nearest_judge(items)

    def found(sounds: Sequence[Audio], what: str) -> list[Found]:
        nearest = (embedded(model, sounds, what, progress) @ read.T).argmax(1).tolist()
        return [
            Found(prompt=own, made=sound, kind=kinds[place], caption=captions[place], asked=kind)
            for own, sound, place, kind in zip(captions, sounds, nearest, kinds, strict=True)
        ]

    sounds = [clip.audio for clip in clips]
    ours = found(sounds, "listening to sounds")
    judged = judge_all(ours, [judge], seed=seed)
    coded = found(through(codec, sounds), "listening through the codec")
    baselines = {
        "through the codec": judge_all(coded, [judge], seed=seed).figures,
        "other sounds (chance)": other_prompts(ours, [judge], seed=seed),
    }
    return evaluation("sound", model, f"sound {split}", judged, ours, baselines)


@dataclass(frozen=True, kw_only=True)
class Preferred(Sample):
    own: float  # likeness to its own prompt
    others: Mapping[str, float]  # and to those that are wrong in one thing


def prompts_wrong_in_one_thing(piece: Piece) -> dict[str, str]:
    """By what is wrong; none is a prompt that fits the piece."""

    def key(semitones: int) -> Key:
        return replace(piece.key, tonic=(piece.key.tonic + semitones) % 12)

    names = [style.name for style in STYLES]
    another = names[(names.index(piece.style) + 1 + piece.seed % (len(names) - 1)) % len(names)]
    return {
        "a faster tempo": prompt_of(replace(piece, tempo=round(piece.tempo * FASTER))),
        "a slower tempo": prompt_of(replace(piece, tempo=round(piece.tempo / FASTER))),
        "a key a fifth higher": prompt_of(replace(piece, key=key(7))),
        "a key a semitone higher": prompt_of(replace(piece, key=key(1))),
        "another style": prompt_of(replace(piece, style=another)),
    }


def preference_judge(wrong: Sequence[str]) -> Judge:
    def measure(name: str) -> str:
        return f"own prompt before {name}"

    def values(sample: Preferred) -> Verdict:
        right = {measure(name): 100.0 * (sample.own > other) for name, other in sample.others.items()}
        return Verdict(
            values=right, note=", ".join(f"{k} {v:.2f}" for k, v in {"own": sample.own, **sample.others}.items())
        )

    measures = tuple(Measure(name=measure(name), unit="%") for name in wrong)
    return Judge(name="prompts wrong in one thing", version="nexus 1", measures=measures, values=values)


def evaluate_clap_music(
    model: Clap,
    split: Literal["train", "valid"] = "valid",
    *,
    items: int = 40,
    seconds: float | int = SECONDS,
    seed: int = 0,
    codec: Any = None,
    progress: Progress | None = None,
) -> Evaluation:
    """How often a piece is nearer to its own prompt than to one with another tempo, key or style.

    Raises:
        ValueError: fewer than two items.
    """
    require_items(items)
    pieces = [compose(i, split, seconds=seconds) for i in range(items)]
    asked = [{"own": prompt_of(piece)} | prompts_wrong_in_one_thing(piece) for piece in pieces]
    judge = preference_judge([name for name in asked[0] if name != "own"])
    texts = [prompt for prompts in asked for prompt in prompts.values()]
    read = model.embed_texts(texts).unflatten(0, (items, -1))

    def preferred(sounds: Sequence[Audio], vectors: Float[Tensor, "N D"]) -> list[Preferred]:
        scores = torch.einsum("nd,npd->np", vectors, read).tolist()
        return [
            Preferred(
                prompt=prompts["own"], made=sound, own=own, others=dict(zip(list(prompts)[1:], rest, strict=True))
            )
            for prompts, sound, (own, *rest) in zip(asked, sounds, scores, strict=True)
        ]

    sounds = [render(piece, seconds, RATE) for piece in pieces]
    heard = embedded(model, sounds, "listening to pieces", progress)
    ours, strangers = preferred(sounds, heard), preferred([*sounds[1:], sounds[0]], heard.roll(-1, 0))
    judged = judge_all(ours, [judge], seed=seed)
    passed = through(codec, sounds)
    coded = preferred(passed, embedded(model, passed, "listening through the codec", progress))
    baselines = {
        "through the codec": judge_all(coded, [judge], seed=seed).figures,
        "another piece (chance)": judge_all(strangers, [judge], seed=seed).figures,
    }
    return evaluation("music", model, f"music {split}, {seconds:g} s", judged, ours, baselines)


def embedded(model: Clap, sounds: Sequence[Audio], what: str, progress: Progress | None) -> Float[Tensor, "B D"]:
    vectors = []
    for i, sound in enumerate(sounds):
        vectors.append(model.embed_sounds([sound]))
        if progress is not None:
            progress(i + 1, len(sounds), what)
    return torch.cat(vectors)


def through(codec: Any, sounds: Sequence[Audio]) -> list[Audio]:
    """What is left of sounds in a codec's codes."""
    codec = load(CODEC) if codec is None else codec
    return [through_codec(codec, sound) for sound in sounds]


def evaluation(
    kind: Literal["music", "sound"],
    model: Any,
    data: str,
    judged: Judged,
    samples: Sequence[Sample],
    baselines: Mapping[str, tuple[Figure, ...]],
) -> Evaluation:
    return Evaluation(
        kind=kind,
        model=model.info.name,
        data=data,
        figures=judged.figures,
        baselines=baselines,
        items=items_of(samples, judged.verdicts),
        left_out=judged.left_out,
    )
