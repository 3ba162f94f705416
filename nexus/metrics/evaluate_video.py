"""How often a made video shows what its prompt names, and how steady it is; of an autoencoder, what it keeps."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from nexus.data.storybook import StoryClip
from nexus.data.storybook.clip import Split
from nexus.media import Video
from nexus.metrics.chance import other_prompts
from nexus.metrics.clip_score import clip_judge
from nexus.metrics.dino import dino_judge
from nexus.metrics.figures import Evaluation, Figure
from nexus.metrics.fvd import fvd
from nexus.metrics.judge import Judge, Measure, MissingJudge, Sample, Verdict, digest, version
from nexus.metrics.judging import Figures, Progress, items_of, judge_all, or_why, present, require_items
from nexus.metrics.picture_distance import picture_distance
from nexus.metrics.picture_features import PACKAGE, PictureNetwork, weights_file
from nexus.metrics.storybook_clips import clips_in_turn, empty_place
from nexus.metrics.storybook_judge import Seen, StorybookJudge, asked_direction
from nexus.metrics.video_quality import consistency, flicker, jerkiness, psnr, smoothness, ssim

# The things that the small model learns.
THINGS = ("lighthouse", "boat", "gull", "moon", "house", "whale", "cat", "rocket", "balloon", "tree")
EXAMPLES = 3  # of each thing in each place, from the training split
BATCH = 8
CODEC_SIZE, CODEC_FRAMES = 64, 17  # of the clips that an autoencoder is given
EMPTY_SEEDS = 10**6  # far from those of the clips
THING, PLACE, TIME, WAY, MOVERS = "thing right", "place right", "time of day right", "direction right", "movers right"
FLICKER, JERKS, SAME = "flicker over the clip's", "jerkiness over the clip's", "frame consistency"
SMOOTH = "motion smoothness"


@dataclass(frozen=True, kw_only=True)
class Filmed(Sample):
    seen: Seen | None  # None where the judge is missing
    asked: StoryClip


def prompt_judge(taught: Callable[[], StorybookJudge]) -> Judge:
    """Thing, place, time and direction by classifiers that were taught on clips of the training split.

    Raises:
        MissingJudge: the package with the network's weights is not installed.
    """
    taught()

    def values(sample: Filmed) -> Verdict:
        seen, facts = sample.seen, sample.asked.facts
        assert seen is not None
        way = asked_direction(facts)
        right = {
            THING: seen.thing == facts.noun,
            PLACE: seen.place == facts.place,
            TIME: seen.time == facts.time,
            WAY: None if way is None else seen.direction == way,
            MOVERS: None if way in (None, "nowhere") else seen.direction == way,
        }
        shares = {name: float("nan") if yes is None else 100.0 * yes for name, yes in right.items()}
        return Verdict(values=shares, note=f"seen as {seen.thing}, {seen.place}, {seen.time}, going {seen.direction}")

    measures = tuple(Measure(name=name, unit="%") for name in (THING, PLACE, TIME, WAY, MOVERS))
    return Judge(name=f"EfficientNet-Lite0, {EXAMPLES} clips of each thing in each place; block matching",
                 version=version(PACKAGE.replace("_", "-")), weights=digest(weights_file()),
                 measures=measures, values=values)  # fmt: skip


def steadiness_judge(network: Callable[[], PictureNetwork]) -> Judge:
    """How alike a film's frames are in the features of the same network.

    Raises:
        MissingJudge: the package with the network's weights is not installed.
    """
    features = network().features

    def values(sample: Sample) -> Verdict:
        return Verdict(values={SAME: consistency(features(sample.made).numpy())})

    return Judge(name="EfficientNet-Lite0", version=version(PACKAGE.replace("_", "-")), weights=digest(weights_file()),
                 measures=(Measure(name=SAME),), values=values)  # fmt: skip


def change_judge() -> Judge:
    """How much neighbouring frames differ, as a multiple of the reference's: each item weighs as its clip moves."""

    def values(sample: Sample) -> Verdict:
        assert sample.reference is not None
        ratios = {
            name: measure(sample.made) / max(measure(sample.reference), 1e-9)
            for name, measure in ((FLICKER, flicker), (JERKS, jerkiness))
        }
        return Verdict(values=ratios)

    measures = (
        Measure(name=FLICKER, better="lower", weight=lambda sample: flicker(sample.reference)),
        Measure(name=JERKS, better="lower", weight=lambda sample: jerkiness(sample.reference)),
    )
    return Judge(name="frame differences", version="nexus 1", measures=measures, values=values, needs=("reference",))


def smoothness_judge() -> Judge:
    """How well a film's frames are told by their neighbours."""

    def values(sample: Sample) -> Verdict:
        return Verdict(values={SMOOTH: smoothness(sample.made)})

    return Judge(name="mean of the neighbours", version="nexus 1", measures=(Measure(name=SMOOTH),), values=values)


def likeness_judge() -> Judge:
    """How near a film is to its reference."""

    def values(sample: Sample) -> Verdict:
        return Verdict(
            values={name: of(sample.made, sample.reference) for name, of in (("PSNR", psnr), ("SSIM", ssim))}
        )

    measures = (Measure(name="PSNR", unit="dB"), Measure(name="SSIM"))
    return Judge(name="pixels", version="nexus 1", measures=measures, values=values, needs=("reference",))


def evaluate_video(
    model: Any,
    split: Split = "valid",
    *,
    items: int = 40,
    seed: int = 0,
    fid: bool = False,
    guidance_scale: float | None = None,
    progress: Progress | None = None,
) -> Evaluation:
    """Figures of a text-to-video model or of a video autoencoder, and of the clips, the codec and other prompts.

    Prompts are captions of storybook clips of a split, the things in turn; the judge is taught on the first of `train`.
    `fid` asks for the Fréchet distances of films and of single frames too, which want hundreds and thousands of them.

    Raises:
        ValueError: a model of another kind, or fewer than two items.
    """
    kind = type(model).__name__
    if kind not in ("CogVideoX", "CogVideoXVAE"):
        raise ValueError(f"a {kind} makes no videos; needed is a CogVideoX or a CogVideoXVAE")
    require_items(items)
    makes = kind == "CogVideoX"
    size, frames = (model.config.size[0], model.config.frames) if makes else (CODEC_SIZE, CODEC_FRAMES)
    clips = clips_in_turn(THINGS, items, size=size, frames=frames, split=split, seed=seed)
    real = [Video(clip.frames, clip.fps) for clip in clips]
    if progress is not None:
        progress(0, 1, "teaching the judge")
    eyes = Eyes(size=size, frames=frames)
    ours_alone = (lambda: prompt_judge(eyes.judge), lambda: steadiness_judge(eyes.network))
    judges, left_out = present((*ours_alone, change_judge, smoothness_judge, dino_judge, clip_judge))
    coded = [through_autoencoder(model.vae if makes else model, video) for video in real]
    if makes:
        made = make_videos(model, [clip.caption for clip in clips], guidance_scale, seed, progress)
    else:
        made, judges = coded, (*judges, likeness_judge())
    ours = filmed(clips, made, real, eyes)
    judged = judge_all(ours, judges, seed=seed, what="what was made", progress=progress)

    def others(videos: Sequence[Video]) -> tuple[Figure, ...]:
        return judge_all(filmed(clips, videos, real, eyes), judges, seed=seed).figures

    baselines = {"the clips": others(real)}
    if makes:
        baselines["the clips through the codec"] = others(coded)
    empty = [empty_place(clip, EMPTY_SEEDS + i) for i, clip in enumerate(clips)]
    baselines["places without the thing"] = others(empty)
    asking = [judge for judge in judges if judge.measures[0].name == THING]
    if asking:
        baselines["other prompts (chance)"] = other_prompts(ours, asking, seed=seed)
    distance = Figures()
    if fid:
        distance = or_why(lambda: fvd(made, real, seed=seed)) + picture_distance(
            lambda: frame_features(eyes, made, real), of="frames", crop="single frames", seed=seed
        )
    return Evaluation(
        kind="video",
        model=model.info.name,
        data=f"storybook {split}, {', '.join(THINGS)}",
        figures=(*judged.figures, *distance.found),
        baselines=baselines,
        items=items_of(ours, judged.verdicts),
        left_out=(*left_out, *judged.left_out, *distance.left_out),
    )


class Eyes:
    """The judge's network and classifiers, made when first asked for."""

    def __init__(self, *, size: int, frames: int):
        self.size, self.frames = size, frames
        self._judge: StorybookJudge | None = None

    def judge(self) -> StorybookJudge:
        if self._judge is None:
            try:
                self._judge = StorybookJudge(THINGS, examples=EXAMPLES, size=self.size, frames=self.frames)
            except ModuleNotFoundError as missing:
                raise MissingJudge(str(missing)) from None
        return self._judge

    def network(self) -> PictureNetwork:
        return self.judge().network

    def look(self, video: Video) -> Seen | None:
        try:
            return self.judge().look(video)
        except MissingJudge:
            return None


def filmed(clips: Sequence[StoryClip], videos: Sequence[Video], real: Sequence[Video], eyes: Eyes) -> list[Filmed]:
    return [
        Filmed(prompt=clip.caption, made=video, reference=reference, seen=eyes.look(video), asked=clip)
        for clip, video, reference in zip(clips, videos, real, strict=True)
    ]


def make_videos(
    model: Any, prompts: Sequence[str], guidance_scale: float | None, seed: int, progress: Progress | None
) -> list[Video]:
    """One video a prompt; item i has the noise of seed + i, whatever the batches."""
    made: list[Video] = []
    for start in range(0, len(prompts), BATCH):
        part = list(prompts[start : start + BATCH])
        made += model.generate(part, seed=seed + start, guidance_scale=guidance_scale)
        if progress is not None:
            progress(len(made), len(prompts), f"making videos with {model.info.name}")
    return made


@torch.inference_mode()
def through_autoencoder(vae: Any, video: Video) -> Video:
    """What a model could make at best: a clip that only its codec has touched."""
    parameter = next(vae.parameters())
    pixels = video.tensor()[None].to(parameter.device, parameter.dtype)
    return Video.from_tensor(vae.decode(vae.encode(pixels).mean)[0].float().cpu(), video.fps)


def frame_features(eyes: Eyes, *sets: Sequence[Video]) -> tuple[np.ndarray, ...]:
    """Of every frame of each set.

    Raises:
        MissingJudge: the package with the network's weights is not installed.
    """
    network = eyes.network()
    return tuple(np.concatenate([network.features(video).numpy() for video in videos]) for videos in sets)
