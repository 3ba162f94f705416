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

import librosa
import numpy as np
import torch

import nexus
from nexus.data.music import compose, render
from nexus.data.music.theory import ALL_KEYS, Key
from nexus.media.audio import Audio
from nexus.media.features import chroma

# Albrecht and Shanahan (2013), from the tonic; of three sets of profiles the best on the pieces themselves.
PROFILES = {
    "major": (0.238, 0.006, 0.111, 0.006, 0.137, 0.094, 0.016, 0.214, 0.009, 0.080, 0.008, 0.081),
    "minor": (0.220, 0.006, 0.104, 0.123, 0.019, 0.103, 0.012, 0.214, 0.062, 0.022, 0.061, 0.052),
}
WHAT = ("tempo", "tempo or its double or half", "key", "share of pitch energy in the scale")
Heard = tuple[float, Key, np.ndarray]  # beats per minute, key, shares of the 12 pitch classes
Asked = tuple[float, Key]


def hear(audio: Audio) -> Heard:
    samples = audio.mono().samples[0]
    tempo = float(np.atleast_1d(librosa.beat.beat_track(y=samples, sr=audio.rate)[0])[0])
    weights = chroma(torch.tensor(samples)[None], audio.rate, 8192, 2048)[0].sqrt().mean(1).numpy()
    fit = [np.corrcoef(weights, np.roll(PROFILES[key.mode], key.tonic))[0, 1] for key in ALL_KEYS]
    return tempo, ALL_KEYS[int(np.argmax(fit))], weights / max(weights.sum(), 1e-9)


def agreement(heard: list[Heard], asked: list[Asked], shift: int) -> np.ndarray:
    """Shares of `WHAT` that agree with the prompt `shift` places further."""
    rows = []
    for i, (tempo, key, weights) in enumerate(heard):
        wanted, wanted_key = asked[(i + shift) % len(asked)]
        near = [abs(tempo / (wanted * factor) - 1) <= 0.04 for factor in (1, 2, 0.5)]
        rows.append([near[0], any(near), key == wanted_key, sum(weights[p] for p in wanted_key.scale)])
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
