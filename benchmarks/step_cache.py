"""Step caching of the shipped painters: how often the network is asked, how fast, how near to the uncached picture.

    python benchmarks/step_cache.py image --items 60 --judge
    python benchmarks/step_cache.py video --items 6 --thresholds 0.3 0.6

Beside each threshold stands the plain way to the same cost: fewer steps of the same solver. CPU seconds of one thread,
for the whole of `generate`, codec and text encoder included.
"""

import argparse
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

import nexus
from nexus.data.storybook import StoryClip
from nexus.metrics.evaluate_image import THINGS, Eyes
from nexus.metrics.still_judge import stills_in_turn

BATCH = 16
HEAD = "| setting | network evaluations | seconds | speed-up | PSNR, dB | thing | colour | place |"


@dataclass(frozen=True)
class Case:
    model: str
    pixels: Callable[[Any], np.ndarray]


CASES = {
    "image": Case("nexus/image-tiny", lambda image: image.pixels),
    "video": Case("nexus/cogvideox-tiny", lambda video: video.frames),
}


@dataclass(frozen=True)
class Made:
    things: list[Any]
    evaluations: int  # for each batch
    seconds: float  # for each thing


def make(model: Any, prompts: Sequence[str], settings: dict[str, Any]) -> Made:
    asked, things, begun = [], [], time.process_time()
    hook = model.network.register_forward_pre_hook(lambda *_: asked.append(1))
    for start in range(0, len(prompts), BATCH):
        things += model.generate(prompts[start : start + BATCH], seed=start, **settings)
    hook.remove()
    seconds = (time.process_time() - begun) / len(prompts)
    return Made(things, len(asked) // math.ceil(len(prompts) / BATCH), seconds)


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    """Of equal arrays infinite."""
    error = np.square(a.astype(np.float64) - b).mean()
    return 10 * math.log10(255**2 / error) if error else math.inf


def told(stills: Sequence[StoryClip], made: Sequence[Any], eyes: Eyes | None) -> list[str]:
    """The shares of pictures whose thing, colour and place are those of the prompt; nothing without a judge."""
    if eyes is None:
        return ["", "", ""]
    pairs = [(eyes.look(image), still.facts) for image, still in zip(made, stills, strict=True)]
    seen = [(look, facts) for look, facts in pairs if look is not None]
    right = (
        [look.thing == facts.noun for look, facts in seen],
        [look.colour == facts.colour for look, facts in seen if facts.colour],
        [look.place == facts.place for look, facts in seen],
    )
    return [f"{100 * np.mean(share):.0f} %" if share else "" for share in right]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("which", choices=CASES)
    parser.add_argument("--items", type=int, default=60)
    parser.add_argument("--thresholds", type=float, nargs="+", default=[0.3, 0.45, 0.6])
    parser.add_argument("--judge", action="store_true", help="; tells too what pictures show")
    args = parser.parse_args()
    torch.set_num_threads(1)
    case = CASES[args.which]
    model = nexus.load(case.model, device="cpu")
    stills = stills_in_turn(THINGS, args.items, size=64, seed=0)
    prompts, eyes = [still.caption for still in stills], Eyes(64) if args.judge and args.which == "image" else None
    whole = make(model, prompts, {})

    def row(name: str, made: Made) -> str:
        near = [psnr(case.pixels(a), case.pixels(b)) for a, b in zip(made.things, whole.things, strict=True)]
        cells = [f"{made.evaluations} of {whole.evaluations}", f"{made.seconds:.2f}"]
        cells += [f"{whole.seconds / made.seconds:.2f}", "" if made is whole else f"{np.mean(near):.1f}"]
        return f"| {name} | {' | '.join([*cells, *told(stills, made.things, eyes)])} |"

    print(f"{HEAD}\n|---{'|--:' * 7}|\n{row('uncached', whole)}", flush=True)
    for threshold in args.thresholds:
        cached = make(model, prompts, {"cache": threshold})
        print(row(f"cache {threshold:g}", cached), flush=True)
        fewer = {"steps": cached.evaluations}
        print(row(f"{cached.evaluations} steps instead", make(model, prompts, fewer)), flush=True)


if __name__ == "__main__":
    main()
