"""MusicGen: milliseconds a frame under guidance, ours against transformers, on the same random weights in one process.

    python benchmarks/musicgen.py --frames 24 --rounds 5

Both take the documented path (text states, a null row, batched halves); fp32 greedy tokens are asserted equal first.
Prints a row for docs/results; times alternate A, B, A, B ... and the median and range are given.
"""

import argparse
import statistics
import time

import torch
import transformers
from torch import nn

from nexus.hub.musicgen import TRANSFORMERS_RULES, convert
from nexus.hub.tensors import rename
from nexus.models.audio.musicgen import MusicGen, MusicGenConfig
from nexus.nn.prepack import prepack
from nexus.process.sampling import Sampling

TEXT_DIM, TEXT_LENGTH = 768, 12


class NoCodec:
    """Only the language model is timed."""

    frame_rate, n_codebooks = 50, 4


def models(n_layers: int) -> tuple[nn.Module, MusicGen]:
    """The official small width (1024 in 16 heads, four codebooks of 2048) with the same random weights twice."""
    torch.manual_seed(0)
    text = transformers.T5Config(vocab_size=99, d_model=TEXT_DIM, d_kv=64, d_ff=64, num_layers=1, num_heads=2)
    codec = transformers.EncodecConfig(num_filters=4, hidden_size=16, codebook_size=2048, target_bandwidths=[1.5])
    decoder = transformers.MusicgenDecoderConfig(num_hidden_layers=n_layers, ffn_dim=4096)
    parts = {"text_encoder": text.to_dict(), "audio_encoder": codec.to_dict(), "decoder": decoder.to_dict()}
    reference = transformers.MusicgenForConditionalGeneration(transformers.MusicgenConfig(**parts)).eval()
    for name, parameter in reference.named_parameters():
        if name.startswith(("decoder.", "enc_to_dec")) and parameter.ndim > 1:
            nn.init.normal_(parameter, std=0.04)
    generation = reference.generation_config
    generation.pad_token_id = generation.bos_token_id = generation.decoder_start_token_id = 2048
    generation.eos_token_id, generation.do_sample, generation.guidance_scale = None, False, 3.0

    ours = MusicGen(MusicGenConfig(n_layers=n_layers)).eval()
    own = {k: v for k, v in reference.state_dict().items() if k.startswith(("decoder.", "enc_to_dec"))}
    own = {k: v for k, v in own.items() if "embed_positions" not in k}
    ours.load_state_dict(convert(rename(own, TRANSFORMERS_RULES), ours.config))
    ours.codec = NoCodec()
    return reference, prepack(ours)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=24)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--layers", type=int, default=24)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    reference, ours = models(args.layers)
    ids = torch.arange(TEXT_LENGTH)[None]
    mask = torch.ones_like(ids)
    captured: list[torch.Tensor] = []

    def silent(codes: torch.Tensor, **_: object) -> transformers.utils.ModelOutput:
        captured.append(codes[0])
        return transformers.utils.ModelOutput(audio_values=torch.zeros(1, 1, 1))

    reference.audio_encoder.decode = silent

    def theirs() -> torch.Tensor:
        with torch.inference_mode():
            reference.generate(input_ids=ids, attention_mask=mask, max_length=args.frames + 4)
        return captured.pop()

    def mine() -> torch.Tensor:
        with torch.inference_mode():
            states = reference.text_encoder(input_ids=ids, attention_mask=mask).last_hidden_state
        ours.text_encoder = lambda prompts: (states, mask.bool())
        conditions = ours._conditions([""], None, 3.0)
        empty = torch.empty(1, 4, 0, dtype=torch.int64)
        frames = ours._frames(conditions, empty, args.frames, 3.0, Sampling(temperature=0), [])
        return torch.stack(list(frames), dim=2)

    assert torch.equal(mine(), theirs()), "greedy tokens differ"  # also warms up
    times: dict[str, list[float]] = {"transformers": [], "nexus": []}
    for _ in range(args.rounds):
        for name, run in (("transformers", theirs), ("nexus", mine)):
            start = time.perf_counter()
            run()
            times[name].append((time.perf_counter() - start) * 1000 / (args.frames + 3))
    median = {name: statistics.median(values) for name, values in times.items()}
    spread = {name: f"{min(values):.0f} to {max(values):.0f}" for name, values in times.items()}
    ratio = statistics.median(a / b for a, b in zip(times["transformers"], times["nexus"], strict=True))
    print(
        f"| MusicGen small decode, guidance 3, batch 1, {args.layers} layers, {args.frames} frames, fp32, "
        f"{args.threads} thread(s) | {median['transformers']:.0f} ms/frame ({spread['transformers']}) | "
        f"{median['nexus']:.0f} ms/frame ({spread['nexus']}) | {ratio:.2f}x | torch {torch.__version__}, "
        f"transformers {transformers.__version__} |"
    )


if __name__ == "__main__":
    main()
