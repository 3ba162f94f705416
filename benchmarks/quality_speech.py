"""How well a speech model speaks: error rates of a recogniser, speaker similarity, real-time factor.

    python benchmarks/quality_speech.py --model nexus/f5tts-tiny --split valid --items 60

Each sentence of the split is spoken in the voice of its prompt (another utterance of that speaker, its first 3 s,
without a transcript). Judges: Whisper base and Resemblyzer. The corpus' own recordings are the upper baseline.
"""

import argparse
import gzip
import json
import time
from pathlib import Path

import numpy as np

import nexus
from nexus.media.audio import Audio
from nexus.metrics.recogniser import Recogniser, error_rates
from nexus.metrics.speaker import SpeakerEncoder


def rows_of(corpus: Path, split: str, items: int) -> list[dict]:
    """Evenly spread rows of a split, so that every speaker is heard."""
    with gzip.open(corpus / "manifests" / f"{split}.jsonl.gz", "rt") as file:
        rows = [json.loads(line) for line in file]
    return [rows[i] for i in np.linspace(0, len(rows) - 1, min(items, len(rows))).astype(int)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="nexus/f5tts-tiny")
    parser.add_argument("--corpus", type=Path, default=Path("../shared/data/speech"))
    parser.add_argument("--split", default="valid", choices=("valid", "valid_unseen_voice"))
    parser.add_argument("--items", type=int, default=60)
    parser.add_argument("--keep", type=Path, help="folder for the spoken sentences")
    args = parser.parse_args()

    model, hear, speaker = nexus.load(args.model), Recogniser(), SpeakerEncoder()
    texts, spoken, real, near, near_real = [], [], [], [], []
    made = elapsed = 0.0
    for i, row in enumerate(rows_of(args.corpus, args.split, args.items)):
        prompt = Audio.load(args.corpus / row["prompt_path"])
        target = Audio.load(args.corpus / row["path"])
        voice = prompt.cut(0, min(prompt.length, 3 * prompt.rate))
        start = time.perf_counter()
        speech = model.generate(row["text"], voice=voice, seed=i)
        elapsed += time.perf_counter() - start
        made += speech.seconds
        texts.append(row["text"])
        spoken.append(hear.transcribe(speech))
        real.append(hear.transcribe(target))
        near.append(speaker.similarity(speech, prompt))
        near_real.append(speaker.similarity(target, prompt))
        if args.keep:
            args.keep.mkdir(parents=True, exist_ok=True)
            speech.save(args.keep / f"{row['id']}.wav")
        print(f"{error_rates([row['text']], [spoken[-1]]).cer:6.1%}  {row['text']}  ->  {spoken[-1]}", flush=True)
    ours, corpus = error_rates(texts, spoken), error_rates(texts, real)
    print(f"\n{args.model} on {args.split}, {len(texts)} sentences, voice prompts of 3 s without transcript\n")
    print("| | CER | WER | speaker similarity | real-time factor |\n|---|---|---|---|---|")
    print(f"| {args.model} | {ours.cer:.1%} | {ours.wer:.1%} | {np.mean(near):.2f} | {elapsed / made:.2f} |")
    print(f"| the corpus itself | {corpus.cer:.1%} | {corpus.wer:.1%} | {np.mean(near_real):.2f} | |")


if __name__ == "__main__":
    main()
