"""How often music has the tempo and the key that its prompt asks for.

    python benchmarks/quality_music.py --model nexus/musicgen-tiny --items 40

Prompts are style, tempo and key of held-out pieces. Judges: librosa's beat tracker (within 4 %, also counting twice
and half), key profiles on chroma, and how much of the chroma lies in the scale of the key. Baselines: the same sounds
against every other prompt (chance), the pieces themselves, and the pieces through the codec.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch

import nexus
from nexus.data.music import compose, render
from nexus.data.music.theory import Key
from nexus.media.audio import Audio
from nexus.metrics.key import key_of, pitch_classes, share_in_scale
from nexus.metrics.tempo import tempo_of, tempo_right

WHAT = ("tempo", "tempo or its double or half", "key", "share of pitch energy in the scale")
Heard = tuple[float, Key | None, np.ndarray]  # beats per minute, key, shares of the 12 pitch classes
Asked = tuple[float, Key]


def hear(audio: Audio) -> Heard:
    shares = pitch_classes(audio)
    return tempo_of(audio), key_of(shares), shares


def agreement(heard: list[Heard], asked: list[Asked], shift: int) -> np.ndarray:
    """Shares of `WHAT` that agree with the prompt `shift` places further."""
    rows = []
    for i, (tempo, key, weights) in enumerate(heard):
        wanted, wanted_key = asked[(i + shift) % len(asked)]
        near, octave = tempo_right(tempo, wanted), tempo_right(tempo, wanted, (1, 2, 0.5))
        rows.append([near, octave, key == wanted_key, share_in_scale(weights, wanted_key)])
    return np.mean(rows, axis=0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="nexus/musicgen-tiny")
    parser.add_argument("--items", type=int, default=40)
    parser.add_argument("--duration", type=float, default=10.0)
    parser.add_argument("--guidance", type=float, default=3.0)
    parser.add_argument("--batch", type=int, default=10)
    parser.add_argument("--keep", type=Path, help="folder for the music")
    args = parser.parse_args()

    model = nexus.load(args.model)
    pieces = [compose(i, "valid", seconds=args.duration) for i in range(args.items)]
    asked = [(float(piece.tempo), piece.key) for piece in pieces]
    prompts = [f"{piece.style}, {piece.tempo} bpm, {piece.key.name}" for piece in pieces]
    made, start = [], time.perf_counter()
    for i in range(0, len(prompts), args.batch):
        part = prompts[i : i + args.batch]
        made += model.generate(part, duration=args.duration, guidance_scale=args.guidance, seed=i)
    elapsed = time.perf_counter() - start
    real = [render(piece, args.duration, 24000).mono() for piece in pieces]
    codec = model.codec
    coded = [Audio(codec.decode(codec.encode(torch.tensor(audio.samples)[None]))[0], audio.rate) for audio in real]
    if args.keep:
        args.keep.mkdir(parents=True, exist_ok=True)
        for i, (prompt, audio) in enumerate(zip(prompts, made, strict=True)):
            audio.save(args.keep / f"{i:02d} {prompt.replace('/', ' ')}.wav")
    figures: dict[str, object] = {}
    for name, sounds in (("pieces", real), ("through the codec", coded), ("made", made)):
        heard = [hear(audio) for audio in sounds]
        right = agreement(heard, asked, 0)
        chance = np.mean([agreement(heard, asked, shift) for shift in range(1, len(asked))], axis=0)
        figures[name] = {
            what: {"right": round(float(a), 3), "other prompts": round(float(b), 3)}
            for what, a, b in zip(WHAT, right, chance, strict=True)
        }
    figures["seconds of music a second"] = round(args.items * args.duration / elapsed, 2)
    print(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
