"""How often a made picture shows what its prompt names, and how varied pictures of a thing are."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from nexus.data.storybook import StoryClip
from nexus.data.storybook.clip import Split
from nexus.media import Image
from nexus.metrics.aesthetics import aesthetics_judge
from nexus.metrics.chance import other_prompts
from nexus.metrics.clip_score import clip_judge
from nexus.metrics.figures import Evaluation, Figure
from nexus.metrics.inception_score import inception_figures
from nexus.metrics.judge import Judge, Measure, MissingJudge, Sample, Verdict, digest, version
from nexus.metrics.judging import Figures, Progress, items_of, judge_all, present
from nexus.metrics.ms_ssim import ms_ssim
from nexus.metrics.picture_distance import inception_distance, picture_distance
from nexus.metrics.picture_features import PACKAGE, weights_file
from nexus.metrics.still_judge import SeenStill, StillJudge, empty_still, stills_in_turn

# The things that the small model learns.
THINGS = (
    *("lighthouse", "boat", "gull", "moon", "house", "whale", "cat", "rocket", "balloon", "tree"),
    *("dog", "car", "sun", "castle", "flower", "star", "fish", "train", "bear", "snowman"),
)
EXAMPLES = 3  # of each thing in each place, from the training split
BATCH = 16
EMPTY_SEEDS = 10**6  # far from those of the stills
THING, COLOUR, PLACE, TIME = "thing right", "colour right", "place right", "time of day right"
ALIKE = "likeness of two of a thing (MS-SSIM)"


@dataclass(frozen=True, kw_only=True)
class Painted(Sample):
    seen: SeenStill | None  # None where the judge is missing
    asked: StoryClip
    likeness: float = float("nan")  # to the other pictures of the same thing


def prompt_judge(taught: Callable[[], StillJudge]) -> Judge:
    """Thing, colour, place and time by classifiers that were taught on stills of the training split.

    Raises:
        MissingJudge: the package with the network's weights is not installed.
    """
    taught()

    def values(sample: Painted) -> Verdict:
        seen, facts = sample.seen, sample.asked.facts
        assert seen is not None
        right = {
            THING: seen.thing == facts.noun,
            COLOUR: None if facts.colour is None else seen.colour == facts.colour,
            PLACE: seen.place == facts.place,
            TIME: seen.time == facts.time,
        }
        shares = {name: float("nan") if yes is None else 100.0 * yes for name, yes in right.items()}
        return Verdict(values=shares, note=f"seen as {seen.colour} {seen.thing}, {seen.place}, {seen.time}")

    return Judge(
        name=f"EfficientNet-Lite0, {EXAMPLES} stills of each thing in each place; hues of the middle",
        version=version(PACKAGE.replace("_", "-")),
        weights=digest(weights_file()),
        measures=tuple(Measure(name=name, unit="%") for name in (THING, COLOUR, PLACE, TIME)),
        values=values,
    )


def diversity_judge() -> Judge:
    """How alike pictures of one thing are: a model that paints each thing always the same way is near 1."""

    def values(sample: Painted) -> Verdict:
        return Verdict(values={ALIKE: sample.likeness})

    return Judge(name="grey pixels", version="nexus 1", measures=(Measure(name=ALIKE, better="lower"),), values=values)


def evaluate_image(
    model: Any,
    split: Split = "valid",
    *,
    items: int = 100,
    seed: int = 0,
    fid: bool = False,
    guidance_scale: float | None = None,
    steps: int | None = None,
    progress: Progress | None = None,
) -> Evaluation:
    """Figures of a text-to-image model, and of the stills, the codec, empty places and other prompts.

    Prompts are captions of storybook stills of a split, the things in turn; the judge is taught on the first of
    `train`. `fid` asks for the Fréchet distance too, which wants thousands of pictures.

    Raises:
        ValueError: a model of another kind, or fewer than two items.
    """
    kind = type(model).__name__
    if kind != "PixArt":
        raise ValueError(f"a {kind} paints no pictures from a prompt; needed is a PixArt")
    if items < 2:
        raise ValueError(f"an interval needs at least 2 items, got {items}")
    size = model.config.size[0]
    stills = stills_in_turn(THINGS, items, size=size, split=split, seed=seed)
    real = [Image(one.frames[0]) for one in stills]
    if progress is not None:
        progress(0, 1, "teaching the judge")
    eyes = Eyes(size)
    judges, left_out = present((lambda: prompt_judge(eyes.judge), diversity_judge, clip_judge, aesthetics_judge))
    prompts = [one.caption for one in stills]
    made: list[Image] = []
    for start in range(0, items, BATCH):
        part = prompts[start : start + BATCH]
        made += model.generate(part, seed=seed + start, guidance_scale=guidance_scale, steps=steps)
        if progress is not None:
            progress(len(made), items, f"painting with {model.info.name}")
    ours = painted(stills, made, real, eyes)
    judged = judge_all(ours, judges, seed=seed, what="what was made", progress=progress)

    def others(images: Sequence[Image]) -> tuple[Figure, ...]:
        return judge_all(painted(stills, images, real, eyes), judges, seed=seed).figures

    empty = [empty_still(one, EMPTY_SEEDS + i) for i, one in enumerate(stills)]
    score = inception_figures(made, seed=seed)
    baselines = {
        "the stills": (*others(real), *inception_figures(real, seed=seed).found),
        "the stills through the codec": others([through_codec(model.image_vae, image) for image in real]),
        "places without the thing": others(empty),
    }
    asking = [judge for judge in judges if judge.measures[0].name == THING]
    if asking:
        baselines["other prompts (chance)"] = other_prompts(ours, asking, seed=seed)
    distance = Figures()
    if fid:
        distance = inception_distance(made, real, seed=seed) + picture_distance(
            lambda: tuple(np.asarray(eyes.judge().features(images)) for images in (made, real)), seed=seed
        )
    return Evaluation(
        kind="image",
        model=model.info.name,
        data=f"storybook stills {split}, {', '.join(THINGS)}",
        figures=(*judged.figures, *score.found, *distance.found),
        baselines=baselines,
        items=items_of(ours, judged.verdicts),
        left_out=(*left_out, *judged.left_out, *score.left_out, *distance.left_out),
    )


class Eyes:
    """The judge, made when first asked for."""

    def __init__(self, size: int):
        self.size = size
        self._judge: StillJudge | None = None

    def judge(self) -> StillJudge:
        if self._judge is None:
            try:
                self._judge = StillJudge(THINGS, examples=EXAMPLES, size=self.size)
            except ModuleNotFoundError as missing:
                raise MissingJudge(str(missing)) from None
        return self._judge

    def look(self, image: Image) -> SeenStill | None:
        try:
            return self.judge().look(image)
        except MissingJudge:
            return None


def painted(stills: Sequence[StoryClip], images: Sequence[Image], real: Sequence[Image], eyes: Eyes) -> list[Painted]:
    alike = likeness(images, [one.facts.noun for one in stills])
    return [
        Painted(prompt=one.caption, made=image, reference=reference, seen=eyes.look(image), asked=one, likeness=value)
        for one, image, reference, value in zip(stills, images, real, alike, strict=True)
    ]


def likeness(images: Sequence[Image], things: Sequence[str]) -> list[float]:
    """Mean MS-SSIM of each picture with the others of its thing; NaN where there are none."""
    grey = torch.stack([image.over_white().tensor().mean(0) for image in images])
    groups: dict[str, list[int]] = defaultdict(list)
    for i, thing in enumerate(things):
        groups[thing].append(i)
    values = []
    for i, thing in enumerate(things):
        others = [other for other in groups[thing] if other != i]
        pairs = ms_ssim(grey[[i]].expand(len(others), -1, -1), grey[others]) if others else torch.tensor([])
        values.append(float(pairs.mean()))
    return values


@torch.inference_mode()
def through_codec(vae: Any, image: Image) -> Image:
    """What a model could paint at best: a picture that only its codec has touched."""
    parameter = next(vae.parameters())
    pixels = image.tensor()[None].to(parameter.device, parameter.dtype)
    return Image.from_tensor(vae.decode(vae.encode(pixels).mean)[0].float().cpu())
