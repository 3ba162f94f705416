"""CogVideoX: one transformer pass and one decoding of latents, ours against diffusers on the same random weights.

    python benchmarks/cogvideox.py --layers 2 --rounds 5

The official 2B width and the official autoencoder, fp32, ours prepacked; outputs are asserted equal first (which also
warms up). Prints rows for docs/results: CPU time of runs that alternate A, B, A, B ... in one process, each side with
the memory allocator's settings that it has in use; medians, ranges and the median ratio are given.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import allocator
import diffusers
import torch
from torch import Tensor, nn

from nexus.hub import cogvideox
from nexus.hub.source import Source
from nexus.nn.prepack import prepack

LATENT = (16, 3, 16, 16)  # channels, frames, height, width: 9 frames of 128 x 128
DECODED = (16, 3, 8, 8)  # 9 frames of 64 x 64


def through_our_hub(reference: nn.Module) -> nn.Module:
    """Redraws the reference's weights, so that nothing is zero, and loads them as ours."""
    rng = torch.Generator().manual_seed(0)
    for parameter in reference.parameters():
        parameter.data = torch.randn(parameter.shape, generator=rng) * (0.02 if parameter.ndim > 1 else 0.1)
    with tempfile.TemporaryDirectory() as folder:
        reference.save_pretrained(folder)  # type: ignore[operator]
        return prepack(cogvideox.load(Source("random", Path(folder))).eval())


def transformer(n_layers: int) -> tuple[Callable[[], Tensor], Callable[[], Tensor]]:
    reference = diffusers.CogVideoXTransformer3DModel(num_layers=n_layers, sample_height=16, sample_width=16).eval()
    ours, rng = through_our_hub(reference), torch.Generator().manual_seed(1)
    x, text = torch.randn(1, *LATENT, generator=rng), torch.randn(1, 226, 4096, generator=rng)
    frames, step = x.transpose(1, 2).contiguous(), torch.tensor([500])
    return lambda: reference(frames, text, step).sample.transpose(1, 2), lambda: ours(x, step, text)


def decoder() -> tuple[Callable[[], Tensor], Callable[[], Tensor]]:
    blocks = {
        "down_block_types": ("CogVideoXDownBlock3D",) * 4,
        "up_block_types": ("CogVideoXUpBlock3D",) * 4,
        "block_out_channels": (128, 256, 256, 512),
    }
    reference = diffusers.AutoencoderKLCogVideoX(**blocks).eval()
    ours = through_our_hub(reference)
    latent = torch.randn(1, *DECODED, generator=torch.Generator().manual_seed(1))
    return lambda: reference.decode(latent).sample, lambda: ours.decode(latent)  # type: ignore[operator]


def row(name: str, theirs: Callable[[], Tensor], mine: Callable[[], Tensor], rounds: int, threads: int) -> str:
    expected = theirs()
    torch.testing.assert_close(mine(), expected, atol=1e-4 * expected.abs().max().item(), rtol=1e-3)
    times: dict[str, list[float]] = {"diffusers": [], "nexus": []}
    for _ in range(rounds):
        for who, run, set_memory in (("diffusers", theirs, allocator.by_default), ("nexus", mine, allocator.kept)):
            set_memory()
            start = time.process_time()
            run()
            times[who].append(time.process_time() - start)
    told = (f"{statistics.median(t):.2f} s ({min(t):.2f} to {max(t):.2f})" for t in times.values())
    ratio = statistics.median(a / b for a, b in zip(times["diffusers"], times["nexus"], strict=True))
    versions = f"torch {torch.__version__}, diffusers {diffusers.__version__}"
    return f"| {name}, batch 1, fp32, {threads} thread(s) | {' | '.join(told)} | {ratio:.2f}x | {versions} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layers", type=int, default=2, help="of the transformer; officially 30")
    parser.add_argument("--only", choices=("transformer", "decoder"))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    tokens = 226 + LATENT[1] * LATENT[2] * LATENT[3] // 4
    with torch.inference_mode():
        if args.only != "decoder":
            name = f"CogVideoX-2b transformer, {args.layers} of 30 layers, {tokens} tokens"
            print(row(name, *transformer(args.layers), args.rounds, args.threads), flush=True)
        if args.only != "transformer":
            print(row("CogVideoX VAE decode, 9 frames of 64 x 64", *decoder(), args.rounds, args.threads))


if __name__ == "__main__":
    main()
