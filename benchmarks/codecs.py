"""Codecs and vocoders against their references: the same weights, in turn, in one process.

    python benchmarks/codecs.py dac mimi --seconds 1 --rounds 3 --threads 1

Prints seconds of sound per second of computing, of the fastest round of each. On one thread it counts CPU time, which
other work on the machine disturbs less than the clock. Official widths, random weights, ours prepacked; a reference
that is not installed, or can't do it in bf16, is left out, and so is bf16 on CPUs without kernels for it. Streams are
measured by `benchmarks/streams.py`.
"""

import argparse
import copy
import time
from collections.abc import Callable, Mapping

import allocator
import codec_pairs
import package_pairs
import torch
from codec_pairs import Pair, Task
from torch import Tensor, nn

from nexus.nn.packed import dtypes
from nexus.nn.prepack import prepack

PAIRS = codec_pairs.PAIRS | package_pairs.PAIRS
SIDES = ("theirs", "ours", "theirs, bf16", "ours, bf16")
Calls = Mapping[str, Callable[[], object]]


def best(calls: Calls, rounds: int, clock: Callable[[], float]) -> dict[str, float]:
    """Least seconds of each, called in turn; each call that is timed comes after one that is not."""
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            (allocator.by_default if "theirs" in name else allocator.kept)()
            call()
            start = clock()
            call()
            seconds[name].append(clock() - start)
    return {name: min(times) for name, times in seconds.items()}


def cast(x: Tensor, model: nn.Module) -> Tensor:
    return x.to(next(model.parameters()).dtype) if x.is_floating_point() else x


def difference(a: Tensor, b: Tensor) -> float:
    """Relative error; of codes the share that differs."""
    if not a.is_floating_point():
        return (a != b).float().mean().item()
    return ((a - b).norm() / b.norm()).item()


@torch.inference_mode()
def race(pair: Pair, task: Task, low: Pair | None, batch: int, arguments: argparse.Namespace) -> None:
    x = task.make(batch, arguments.seconds)
    answer = task.ours(pair.ours, x)
    far = difference(answer, task.theirs(pair.reference, x))
    # Rounding decides between codes that are as near, and then the codes of what is left differ too.
    most = 1e-3 if answer.is_floating_point() else 1e-2
    assert far < most, f"{pair.name}, {task.name}: not equal to the reference, {far:.1e}"
    calls: dict[str, Callable[[], object]] = {
        SIDES[0]: lambda: task.theirs(pair.reference, x),
        SIDES[1]: lambda: task.ours(pair.ours, x),
    }
    error = ""
    if low is not None:
        off = difference(task.judged(low.ours, cast(x, low.ours)).float(), task.judged(pair.ours, x))
        error = f"{100 * off:.1f} %"
        calls[SIDES[2]] = lambda: task.theirs(low.reference, cast(x, low.reference))
        calls[SIDES[3]] = lambda: task.ours(low.ours, cast(x, low.ours))
        try:
            calls[SIDES[2]]()
        except (RuntimeError, ValueError):
            del calls[SIDES[2]]
    seconds = best(calls, arguments.rounds, arguments.clock)
    speeds = [f"{batch * arguments.seconds / seconds[name]:.2f}" if name in seconds else "" for name in SIDES]
    ratios = [f"{seconds[SIDES[0]] / seconds[name]:.2f}" if name in seconds else "" for name in ("ours", "ours, bf16")]
    print(f"| {pair.name}, {task.name}, batch {batch} | {' | '.join((*speeds, *ratios, error))} |", flush=True)


def races(name: str, arguments: argparse.Namespace) -> None:
    try:
        pair = PAIRS[name]()
    except (ImportError, OSError) as error:  # OSError: a wheel for another machine
        print(f"| {name}: no reference ({error}) | | | | | | | |", flush=True)
        return
    low = None
    if torch.bfloat16 in dtypes():
        halves = [copy.deepcopy(model).to(torch.bfloat16) for model in (pair.ours, pair.reference)]
        low = Pair(pair.name, prepack(halves[0]), halves[1], pair.tasks)
    prepack(pair.ours)
    for task in pair.tasks:
        for batch in arguments.batches:
            race(pair, task, low, batch, arguments)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", default=list(PAIRS), help=", ".join(PAIRS))
    parser.add_argument("--seconds", type=float, default=0.9)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 4])
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - set(PAIRS):
        parser.error(f"unknown: {', '.join(sorted(unknown))}; there are {', '.join(PAIRS)}")
    arguments.clock = time.process_time if arguments.threads == 1 else time.perf_counter
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    print("| what | reference | ours | reference, bf16 | ours, bf16 | ratio | bf16 / fp32 reference | error of bf16 |")
    print("|---|--:|--:|--:|--:|--:|--:|--:|")
    for name in sorted(arguments.names, key=list(PAIRS).index):  # transformers' first: packages' stubs confuse it
        races(name, arguments)
