"""How often a made video shows what its prompt names, as a judge sees it whose eyes others trained.

    python benchmarks/quality_video.py --model nexus/cogvideox-tiny --items 40 --steps 25 --keep sheet

Prompts are captions of held-out storybook clips, the things in turn. Judges: logistic regressions on the features of
EfficientNet-Lite0 for thing, place and time of day; block matching for the direction, of which the last column counts
only the prompts that ask for movement. Flicker is the change between neighbouring frames, relative to the clips'.
Baselines: the clips themselves, the clips through the codec, their places drawn anew without the thing (what a judge
guesses of it from the place), and for every row its videos held against the other prompts (chance).
"""

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image as Pillow
from PIL import ImageDraw

import nexus
from nexus.data.storybook import StoryClip
from nexus.media.video import Video
from nexus.metrics.agreement import agreement, ratio
from nexus.metrics.storybook_clips import empty_place, held_out
from nexus.metrics.storybook_judge import Seen, StorybookJudge, asked_direction
from nexus.recipes.cogvideox_tiny import LEARNED

WHAT = ("thing", "place", "time", "direction", "direction of movers", "flicker")


def change(video: Video) -> float:
    """Mean absolute difference of neighbouring frames, in grey levels."""
    return float(np.abs(np.diff(video.frames.astype(np.int16), axis=0)).mean())


def figures(seen: list[Seen], videos: list[Video], clips: list[StoryClip], real: list[Video]) -> dict[str, dict]:
    """One of `WHAT` to value, interval, number of items and chance (which flicker has not)."""
    ways = [asked_direction(clip.facts) for clip in clips]
    asked: dict[str, tuple[list[str], Sequence[str | None]]] = {
        "thing": ([s.thing for s in seen], [clip.facts.noun for clip in clips]),
        "place": ([s.place for s in seen], [clip.facts.place for clip in clips]),
        "time": ([s.time for s in seen], [clip.facts.time for clip in clips]),
        "direction": ([s.direction for s in seen], ways),
        "direction of movers": ([s.direction for s in seen], [None if way == "nowhere" else way for way in ways]),
    }
    rows = {}
    for what, (answers, wanted) in asked.items():
        if sum(one is not None for one in wanted) < 2:
            continue
        share = agreement(answers, wanted)
        rows[what] = {**vars(share.right), "chance": share.chance}
    rows["flicker"] = vars(ratio(np.array([change(v) for v in videos]), np.array([change(v) for v in real])))
    return rows


def shown(row: dict[str, dict], what: str) -> str:
    if what not in row:
        return ""
    cell = row[what]
    if what == "flicker":
        return f"{cell['value']:.2f} [{cell['low']:.2f}, {cell['high']:.2f}]"
    return f"{cell['value']:.0%} [{cell['low']:.0%}, {cell['high']:.0%}], chance {cell['chance']:.0%}"


def contact_sheet(prompts: list[str], real: list[Video], made: list[Video], seen: list[Seen]) -> Pillow.Image:
    """First, middle and last frame of each clip and of what was made, under its prompt; two items abreast."""
    side, gap, line = 96, 16, 30
    width, height = 6 * side + 2 * gap, side + line + gap
    sheet = Pillow.new("RGB", (2 * width, -(-len(prompts) // 2) * height), "white")
    draw = ImageDraw.Draw(sheet)
    for i, prompt in enumerate(prompts):
        left, top = i % 2 * width, i // 2 * height
        s = seen[i]
        draw.text((left, top), f"{i}: {prompt}\nclip | made: {s.thing}, {s.place}, {s.time}, {s.direction}", "black")
        for k, video in enumerate((real[i], made[i])):
            for j, frame in enumerate((0, video.length // 2, video.length - 1)):
                picture = Pillow.fromarray(video.frames[frame]).resize((side, side), Pillow.Resampling.NEAREST)
                sheet.paste(picture, (left + (3 * k + j) * side + k * gap // 2, top + line))
    return sheet


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="nexus/cogvideox-tiny")
    parser.add_argument("--items", type=int, default=40)
    parser.add_argument("--steps", type=int, default=25)
    parser.add_argument("--guidance", type=float, help="the model's own if not given")
    parser.add_argument(
        "--examples", type=int, default=3, help="clips of each thing in each place that teach the judge"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the prompts and of what is made")
    parser.add_argument("--batch", type=int, default=10)
    parser.add_argument("--keep", type=Path, help="folder for the videos and a contact sheet")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    args = parser.parse_args()
    if args.items < 2:
        parser.error(
            f"--items is at least 2, since chance holds each video against the other prompts; got {args.items}"
        )

    model = nexus.load(args.model)
    size, frames = model.config.size[0], model.config.frames
    judge = StorybookJudge(LEARNED, examples=args.examples, size=size, frames=frames)
    clips = held_out(LEARNED, args.items, size=size, frames=frames, seed=args.seed)
    prompts = [clip.caption for clip in clips]
    real = [Video(clip.frames, clip.fps) for clip in clips]
    with torch.no_grad():
        latents = (model.vae.encode(video.tensor()[None]).mean for video in real)
        coded = [Video.from_tensor(model.vae.decode(latent)[0], real[0].fps) for latent in latents]
    made, start = [], time.perf_counter()
    for i in range(0, args.items, args.batch):
        part = prompts[i : i + args.batch]
        made += model.generate(part, steps=args.steps, guidance_scale=args.guidance, seed=args.seed + i)
    elapsed = time.perf_counter() - start
    # Places are drawn by seeds far from those of the clips.
    empty = [empty_place(clip, 10**6 + i) for i, clip in enumerate(clips)]
    rows = {"clips": real, "through the codec": coded, "places without the thing": empty, "made": made}
    seen = {name: [judge.look(video) for video in videos] for name, videos in rows.items()}
    table = {name: figures(seen[name], videos, clips, real) for name, videos in rows.items()}
    if args.keep:
        args.keep.mkdir(parents=True, exist_ok=True)
        contact_sheet(prompts, real, made, seen["made"]).save(args.keep / "sheet.png")
        for i, (prompt, video) in enumerate(zip(prompts, made, strict=True)):
            video.save(args.keep / f"{i:02d} {prompt[:60].replace('/', ' ')}.mp4")
    if args.json:
        about = {"model": args.model, "items": args.items, "steps": args.steps, "seed": args.seed}
        print(json.dumps({**about, "rows": table, "seconds a video": round(elapsed / args.items, 2)}, indent=1))
        return
    print(
        f"{args.model}, {args.items} prompts, {args.steps} steps, {elapsed / args.items:.1f} s each; 95 % intervals\n"
    )
    print(f"| | {' | '.join(WHAT)} |\n|---|{'---|' * len(WHAT)}")
    for name, row in table.items():
        print(f"| {name} | {' | '.join(shown(row, what) for what in WHAT)} |")


if __name__ == "__main__":
    main()
