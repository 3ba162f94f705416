"""Streams of codecs: sound that passes chunk by chunk against all of it at once.

    python benchmarks/streams.py encodec mimi --seconds 6 --chunks 0.16 1 --rounds 5

Prints how much more CPU time the chunks take, in parts of the whole's. Official widths, random weights, prepacked
unless --plain; one thread. Chunks and the whole take turns; the fastest round of each counts.
"""

import argparse
import time
from collections.abc import Callable
from typing import Any

import allocator
import torch

from nexus.codecs.encodec import Encodec, EncodecConfig
from nexus.codecs.mimi import Mimi, MimiConfig
from nexus.codecs.soundstream import SoundStream, SoundStreamConfig
from nexus.nn.prepack import prepack

CODECS: dict[str, Callable[[], Any]] = {
    "encodec": lambda: Encodec(EncodecConfig.encodec_24khz()),
    "soundstream": lambda: SoundStream(SoundStreamConfig()),
    "mimi": lambda: Mimi(MimiConfig()),
}


def passes(codec: Any, seconds: float) -> dict[str, Callable[[int], None]]:
    """Encoding and decoding of so much sound in chunks of n frames."""
    n_frames = round(seconds * codec.frame_rate)
    waveform = 0.3 * torch.randn(1, 1, n_frames * codec.hop_length)
    codes = torch.randint(codec.codebook_size, (1, 8, n_frames))

    def encode(n: int) -> None:
        with codec.streaming() as stream:
            for chunk in waveform.split(n * codec.hop_length, dim=-1):
                stream.encode(chunk, n_codebooks=8)

    def decode(n: int) -> None:
        with codec.streaming() as stream:
            for chunk in codes.split(n, dim=-1):
                stream.decode(chunk)

    return {"encode": encode, "decode": decode}


def fastest(step: Callable[[int], None], sizes: list[int], rounds: int) -> dict[int, float]:
    """Seconds for each size of chunks, in turn, after one round that is not counted."""
    times: dict[int, list[float]] = {n: [] for n in sizes}
    for _ in range(rounds + 1):
        for n in sizes:
            start = time.process_time()
            step(n)
            times[n].append(time.process_time() - start)
    return {n: min(spent[1:]) for n, spent in times.items()}


@torch.inference_mode()
def measure(name: str, arguments: argparse.Namespace) -> None:
    torch.manual_seed(0)
    codec = CODECS[name]().eval().requires_grad_(False)
    if not arguments.plain:
        prepack(codec)
    whole = round(arguments.seconds * codec.frame_rate)
    lengths = {max(1, round(seconds * codec.frame_rate)) for seconds in arguments.chunks}
    for direction, step in passes(codec, arguments.seconds).items():
        seconds = fastest(step, [*sorted(lengths), whole], arguments.rounds)
        more = [f"{100 * (seconds[n] / seconds[whole] - 1):+.0f} %" for n in sorted(lengths)]
        said = [f"{n / codec.frame_rate:.2f} s: {part}" for n, part in zip(sorted(lengths), more, strict=True)]
        print(f"| {name}, {direction} | {arguments.seconds / seconds[whole]:.1f} | {' | '.join(said)} |", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", default=list(CODECS), help=", ".join(CODECS))
    parser.add_argument("--seconds", type=float, default=6.0, help="of the whole")
    parser.add_argument(
        "--chunks", type=float, nargs="+", default=[0.0, 0.16, 0.4, 1.0, 2.0], help="seconds; 0: a frame"
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--plain", action="store_true", help="not prepacked")
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - set(CODECS):
        parser.error(f"unknown: {', '.join(sorted(unknown))}; there are {', '.join(CODECS)}")
    torch.set_num_threads(1)
    allocator.kept()  # with and without prepacking, so that this is not what differs
    print("| what | the whole, seconds of sound a second | more time than the whole in chunks of |\n|---|--:|---|")
    for name in arguments.names:
        measure(name, arguments)
