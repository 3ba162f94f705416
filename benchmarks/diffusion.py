"""Denoisers and image autoencoders against diffusers: the same random weights, in turn, in one process.

    python benchmarks/diffusion.py unet dit --rounds 3 --threads 1

One step of a sampler under guidance, both halves in one batch, at the official widths (depth cut, as the table says);
outputs are asserted equal first, which also warms up. Ours is prepacked, and asked as samplers ask it: keys and values
of the text are computed before. On one thread CPU time is counted, which other work disturbs less than the clock.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zlib import crc32

import allocator
import diffusers
import torch
from torch import Tensor, nn

from nexus.hub import base_diffusion, conditional_unet, dit_transformer, flux_transformer, image_vae, mmdit, pixart
from nexus.hub.source import Source
from nexus.nn.packed import dtypes
from nexus.nn.prepack import prepack

Call = Callable[[], Tensor]


@dataclass(frozen=True, kw_only=True)
class Race:
    """`calls(theirs, ours, dtype)` makes the two functions that are timed."""

    name: str
    reference: Callable[[], nn.Module]
    load: Callable[[Source], nn.Module]
    calls: Callable[[Any, Any, torch.dtype], tuple[Call, Call]]


def drawn(*shape: int, dtype: torch.dtype) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(1)).to(dtype)


def unet(theirs: Any, ours: Any, dtype: torch.dtype) -> tuple[Call, Call]:
    x, text, step = drawn(2, 4, 32, 32, dtype=dtype), drawn(2, 77, 768, dtype=dtype), torch.tensor([500, 500])
    told = ours.hear(text)
    return lambda: theirs(x, step, text).sample, lambda: ours(x, step, told)


def sdxl(theirs: Any, ours: Any, dtype: torch.dtype) -> tuple[Call, Call]:
    x, text, step = drawn(2, 4, 64, 64, dtype=dtype), drawn(2, 77, 2048, dtype=dtype), torch.tensor([500, 500])
    pooled, sizes = drawn(2, 1280, dtype=dtype), torch.tensor([[512, 512, 0, 0, 512, 512]] * 2)
    told, added = ours.hear(text), {"text_embeds": pooled, "time_ids": sizes}
    return (
        lambda: theirs(x, step, text, added_cond_kwargs=added).sample,
        lambda: ours(x, step, told, pooled=pooled, sizes=sizes),
    )


def ddpm(theirs: Any, ours: Any, dtype: torch.dtype) -> tuple[Call, Call]:
    x, step = drawn(1, 3, 256, 256, dtype=dtype), torch.tensor([500])
    return lambda: theirs(x, step).sample, lambda: ours(x, step)


def dit(theirs: Any, ours: Any, dtype: torch.dtype) -> tuple[Call, Call]:
    x, step, label = drawn(2, 4, 32, 32, dtype=dtype), torch.tensor([500, 500]), torch.tensor([207, 1000])
    return lambda: theirs(x, timestep=step, class_labels=label).sample, lambda: ours(x, step, label)


def pixart_alpha(theirs: Any, ours: Any, dtype: torch.dtype) -> tuple[Call, Call]:
    x, text, step = drawn(2, 4, 64, 64, dtype=dtype), drawn(2, 120, 4096, dtype=dtype), torch.tensor([500, 500])
    keys = ours.text_keys(text)
    return lambda: theirs(x, encoder_hidden_states=text, timestep=step).sample, lambda: ours(x, step, keys)


def sd3(theirs: Any, ours: Any, dtype: torch.dtype) -> tuple[Call, Call]:
    x, text = drawn(2, 16, 64, 64, dtype=dtype), drawn(2, 154, 4096, dtype=dtype)
    summary, step = drawn(2, 2048, dtype=dtype), torch.tensor([500.0, 500.0])
    return lambda: theirs(x, text, summary, step).sample, lambda: ours(x, step, text, summary)


def flux(theirs: Any, ours: Any, dtype: torch.dtype) -> tuple[Call, Call]:
    x, text, summary = (drawn(*s, dtype=dtype) for s in ((1, 16, 64, 64), (1, 256, 4096), (1, 768)))
    packed = x.unflatten(2, (32, 2)).unflatten(4, (32, 2)).permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2)
    places = torch.zeros(32, 32, 3)
    places[..., 1], places[..., 2] = torch.arange(32)[:, None], torch.arange(32)
    step, scale = torch.tensor([0.5]), torch.tensor([3.5])
    given = {"img_ids": places.flatten(0, 1), "txt_ids": torch.zeros(256, 3), "guidance": scale}

    def reference() -> Tensor:
        out = theirs(packed, encoder_hidden_states=text, pooled_projections=summary, timestep=step, **given).sample
        return out.unflatten(1, (32, 32)).unflatten(3, (16, 2, 2)).permute(0, 3, 1, 4, 2, 5).flatten(4).flatten(2, 3)

    return reference, lambda: ours(x, 1000 * step, text, summary, scale)


def decoder(theirs: Any, ours: Any, dtype: torch.dtype) -> tuple[Call, Call]:
    latent = drawn(1, 4, 32, 32, dtype=dtype)
    return lambda: theirs.decode(latent).sample, lambda: ours.decode(latent)


RACES = {
    "unet": Race(
        name="Stable Diffusion 1.5 U-Net, 256 px, batch 2",
        reference=lambda: diffusers.UNet2DConditionModel(sample_size=64, cross_attention_dim=768),
        load=conditional_unet.load_conditional_unet,
        calls=unet,
    ),
    "sdxl": Race(
        name="Stable Diffusion XL's U-Net, 1 and 2 of 2 and 10 transformer layers, 512 px, batch 2",
        reference=lambda: diffusers.UNet2DConditionModel(
            sample_size=128,
            block_out_channels=(320, 640, 1280),
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
            transformer_layers_per_block=(1, 1, 2),
            attention_head_dim=(5, 10, 20),
            cross_attention_dim=2048,
            use_linear_projection=True,
            addition_embed_type="text_time",
            addition_time_embed_dim=256,
            projection_class_embeddings_input_dim=2816,
        ),
        load=conditional_unet.load_conditional_unet,
        calls=sdxl,
    ),
    "ddpm": Race(
        name="DDPM's U-Net for CelebA-HQ, 256 px, batch 1",
        reference=lambda: diffusers.UNet2DModel(
            sample_size=256,
            block_out_channels=(128, 128, 256, 256, 512, 512),
            down_block_types=(*("DownBlock2D",) * 4, "AttnDownBlock2D", "DownBlock2D"),
            up_block_types=("UpBlock2D", "AttnUpBlock2D", *("UpBlock2D",) * 4),
            attention_head_dim=None,
            downsample_padding=0,
            freq_shift=1,
            flip_sin_to_cos=False,
            norm_eps=1e-6,
        ),
        load=lambda source: base_diffusion.load(source).network,
        calls=ddpm,
    ),
    "dit": Race(
        name="DiT-XL/2, 4 of 28 layers, 256 px, batch 2",
        reference=lambda: diffusers.DiTTransformer2DModel(num_layers=4, out_channels=8),
        load=dit_transformer.load_folder,
        calls=dit,
    ),
    "pixart": Race(
        name="PixArt-XL/2, 4 of 28 layers, 512 px, batch 2",
        reference=lambda: diffusers.PixArtTransformer2DModel(num_layers=4, sample_size=64, caption_channels=4096),
        load=pixart.load_transformer,
        calls=pixart_alpha,
    ),
    "sd3": Race(
        name="Stable Diffusion 3, 3 of 24 layers, 512 px, batch 2",
        reference=lambda: diffusers.SD3Transformer2DModel(
            num_layers=3,
            num_attention_heads=24,
            caption_projection_dim=1536,
            pooled_projection_dim=2048,
            pos_embed_max_size=192,
        ),
        load=mmdit.load_folder,
        calls=sd3,
    ),
    "flux": Race(
        name="FLUX, 1 of 19 and 2 of 38 layers, 512 px, batch 1",
        reference=lambda: diffusers.FluxTransformer2DModel(num_layers=1, num_single_layers=2, guidance_embeds=True),
        load=flux_transformer.load_folder,
        calls=flux,
    ),
    "vae": Race(
        name="Stable Diffusion's autoencoder, decode 256 px",
        reference=lambda: diffusers.AutoencoderKL(
            block_out_channels=(128, 256, 512, 512),  # type: ignore[arg-type]
            layers_per_block=2,
            down_block_types=("DownEncoderBlock2D",) * 4,  # type: ignore[arg-type]
            up_block_types=("UpDecoderBlock2D",) * 4,  # type: ignore[arg-type]
        ),
        load=image_vae.load,
        calls=decoder,
    ),
}


def reference(race: Race, folder: str) -> nn.Module:
    """The reference with every parameter redrawn, so that nothing is zero, and saved."""
    theirs, rng = race.reference().eval(), torch.Generator()
    for name, parameter in theirs.named_parameters():
        rng.manual_seed(crc32(name.partition(".emb.")[2].encode() or name.encode()))  # DiT's blocks embed time alike
        if parameter.ndim > 1:
            fan = parameter[0].numel()
            parameter.data = torch.randn(parameter.shape, generator=rng) / fan**0.5
        elif ".emb." in name or "norm" not in name:
            parameter.data = 0.1 * torch.randn(parameter.shape, generator=rng)
    theirs.save_pretrained(folder)  # type: ignore[operator]
    return theirs


def seconds(theirs: Call, ours: Call, rounds: int, clock: Callable[[], float]) -> tuple[list[float], list[float]]:
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(rounds):
        for set_memory, call, kept in ((allocator.by_default, theirs, times[0]), (allocator.kept, ours, times[1])):
            set_memory()
            call()
            start = clock()
            call()
            kept.append(clock() - start)
    return times


@torch.inference_mode()
def row(race: Race, folder: str, rounds: int, clock: Callable[[], float]) -> tuple[str, list[float]]:
    """A row of the table, and the ratios at fp32 and, on CPUs with kernels for it, bf16."""
    theirs = reference(race, folder)
    cells, ratios, exact = [], [], torch.tensor(0.0)
    for dtype in dtypes():
        theirs.to(dtype)
        ours = prepack(race.load(Source(race.name, Path(folder))).eval().to(dtype))
        slow, fast = race.calls(theirs, ours, dtype)
        expected, answer = slow().float(), fast().float()
        error = ((answer - expected).norm() / expected.norm()).item()
        if dtype == torch.float32:
            assert error < 1e-3, f"{race.name}: not equal to the reference, {error:.1e}"
            exact = answer
        times = seconds(slow, fast, rounds, clock)
        ratios.append(statistics.median(a / b for a, b in zip(*times, strict=True)))
        cells += [f"{statistics.median(t):.2f} s" for t in times] + [f"{ratios[-1]:.2f}"]
        del ours, slow, fast
    apart = ((answer - exact).norm() / exact.norm()).item()
    cells += [f"{100 * apart:.1f} %"] if len(ratios) == 2 else [""] * 4
    return f"| {race.name} | {' | '.join(cells)} |", ratios


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("which", nargs="*", choices=[[], *RACES], default=[], help="; by default all")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    clock = time.process_time if args.threads == 1 else time.perf_counter
    print("| work | diffusers, fp32 | ours | ratio | diffusers, bf16 | ours | ratio | ours in bf16 off |")
    print("|---|--:|--:|--:|--:|--:|--:|--:|")
    ratios = []
    for name in args.which or RACES:
        with tempfile.TemporaryDirectory() as folder:
            line, of_row = row(RACES[name], folder, args.rounds, clock)
        print(line, flush=True)
        ratios.append(of_row)
    means = [statistics.geometric_mean(column) for column in zip(*ratios, strict=True)]
    told = [f"{mean:.2f} in {name}" for mean, name in zip(means, ("fp32", "bf16"), strict=False)]
    print(f"\nGeometric means: {', '.join(told)}.")


if __name__ == "__main__":
    main()
