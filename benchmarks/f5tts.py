"""F5-TTS v1 Base widths: our network against the reference class on the same weights, in turn, in one process.

    python benchmarks/f5tts.py --layers 4 --frames 500

One guided step (conditional and unconditional halves together) of a mel of `--frames` frames. Weights are random,
which is valid for speed. The reference is the package f5-tts; what it needs and is not here is replaced by stubs.
"""

import argparse
import statistics
import sys
import time
import warnings
from unittest.mock import MagicMock

import torch

from nexus.hub.f5tts import convert, network_config
from nexus.models.audio.f5tts_dit import DiT

_STUBS = ("torchaudio", "wandb", "rjieba", "pypinyin", "ema_pytorch", "f5_tts.model.trainer", "f5_tts.model.dataset")


def reference_network(n_layers: int) -> torch.nn.Module:
    sys.modules.update({name: MagicMock() for name in _STUBS})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from f5_tts.model.backbones.dit import DiT as Reference
    network = Reference(
        dim=1024,
        depth=n_layers,
        heads=16,
        ff_mult=2,
        text_dim=512,
        text_num_embeds=2545,
        conv_layers=4,
        attn_mask_enabled=False,
    )
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.normal_(std=0.02)
    return network.eval()


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layers", type=int, default=22)
    parser.add_argument("--frames", type=int, default=500)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    try:
        reference = reference_network(args.layers)
    except ImportError as error:
        print(f"f5tts: skipped, the reference does not import ({error})")
        return
    state = {f"transformer.{name}": tensor for name, tensor in reference.state_dict().items()}
    ours = DiT(network_config(state, "F5TTS_v1_Base")).eval()
    ours.load_state_dict({name.removeprefix("network."): tensor for name, tensor in convert(state).items()})

    x, cond = torch.randn(2, 1, args.frames, 100)
    text, t = torch.randint(0, 2545, (1, args.frames // 6)), torch.tensor([0.3])
    doubled = [tensor.repeat(2, *[1] * (tensor.ndim - 1)) for tensor in (x.mT, t, cond.mT, text)]
    drop = torch.tensor([False, True])
    runs = {
        "reference": lambda: reference(x, cond, text, t, cfg_infer=True, cache=False),
        "ours": lambda: ours(*doubled, None, drop, drop).mT,
    }
    difference = (runs["ours"]() - runs["reference"]()).abs().max().item()
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(args.repeats):
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - start)
    for name, values in seconds.items():
        spread = f"{min(values):.3f} to {max(values):.3f}"
        print(f"f5tts {name:9} {statistics.median(values):.3f} s a guided step ({spread}), {args.frames} frames")
    ratio = statistics.median(seconds["reference"]) / statistics.median(seconds["ours"])
    print(f"f5tts ours is {ratio:.2f}x the reference's speed; largest difference {difference:.1e}; ", end="")
    print(f"{args.layers} layers, fp32, {args.threads} threads, torch {torch.__version__}")


if __name__ == "__main__":
    main()
