"""How often a made sound is of the kind its prompt names, as a nearest-neighbour judge on real clips hears it.

    python benchmarks/quality_sound.py --model nexus/sound-tiny --items 64

The judge compares means, spreads and changes of log-mel bands with `--examples` synthesised clips of every kind.
Baselines: held-out real clips, the same through the codec, and the made sounds against other prompts (chance).
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch

import nexus
from nexus.data.sound import KINDS, synthesize
from nexus.media.audio import Audio
from nexus.metrics.evaluate_sound import kinds_classifier


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="nexus/sound-tiny")
    parser.add_argument("--items", type=int, default=64)
    parser.add_argument("--examples", type=int, default=8)
    parser.add_argument("--guidance", type=float, default=3.0)
    parser.add_argument("--keep", type=Path, help="folder for the sounds")
    args = parser.parse_args()

    model, kinds = nexus.load(args.model), list(KINDS)
    classifier = kinds_classifier(args.examples)
    clips = [synthesize(i, "valid") for i in range(args.items)]
    asked = np.array([kinds.index(clip.facts["kind"]) for clip in clips])
    made: list[Audio] = []
    for i in range(0, args.items, 16):
        part = [clip.caption for clip in clips[i : i + 16]]
        made += model.generate(part, duration=4.0, guidance_scale=args.guidance, seed=i)
    codec = model.codec
    real = [clip.audio for clip in clips]
    coded = [Audio(codec.decode(codec.encode(torch.tensor(audio.samples)[None]))[0], audio.rate) for audio in real]
    if args.keep:
        args.keep.mkdir(parents=True, exist_ok=True)
        for i, (clip, audio) in enumerate(zip(clips, made, strict=True)):
            audio.save(args.keep / f"{i:02d} {clip.caption[:60].replace('/', ' ')}.wav")
    figures = {}
    for name, sounds in (("real", real), ("through the codec", coded), ("made", made)):
        heard = np.array([kinds.index(classifier.classify(audio)) for audio in sounds])
        chance = np.mean([np.mean(heard == np.roll(asked, shift)) for shift in range(1, len(asked))])
        figures[name] = {"right": round(float(np.mean(heard == asked)), 3), "other prompts": round(float(chance), 3)}
    print(json.dumps({"kinds": len(kinds), **figures}, indent=1))


if __name__ == "__main__":
    main()
