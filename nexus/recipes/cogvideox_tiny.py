"""`nexus/cogvideox-tiny`: CogVideoX on storybook clips, over the latents of `nexus/video-vae-tiny`."""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from einops import rearrange
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from nexus.codecs.cogvideox_vae import CogVideoXVAE
from nexus.data.storybook import cache_clips
from nexus.hub.load import load, weights_hash
from nexus.hub.source import find
from nexus.media.video import Video
from nexus.models.video.cogvideox import CogVideoX, CogVideoXConfig
from nexus.models.video.cogvideox_transformer import TransformerConfig
from nexus.nn.checkpoint import save_folder
from nexus.text.encoders import minilm
from nexus.training.recipe import Batch, BatchStream, LoopConfig, Networks, Objective, OptimizerConfig, Recipe

# Things that look unlike one another at 64 pixels.
NOUNS = (
    *("boat", "ship", "lighthouse", "whale", "fish", "turtle", "gull", "owl", "duck", "butterfly", "dragon", "cat"),
    *("dog", "horse", "fox", "rabbit", "unicorn", "car", "train", "airplane", "balloon", "rocket", "house", "castle"),
    *("tree", "robot", "ghost", "apple", "umbrella", "wizard"),
)


@dataclass(frozen=True, kw_only=True)
class CogVideoXTiny(Recipe):
    name: str = "cogvideox-tiny"
    loop: LoopConfig = LoopConfig(
        steps=2000, ema_decay=0.998, log_every=20, save_every=100, sample_every=500, validate_every=250
    )
    optimizer: OptimizerConfig = OptimizerConfig(lr=1e-3, betas=(0.9, 0.98), warmup_steps=100, weight_decay=0.01)
    cache: str = "runs/cache/storybook-17"
    vae: str = "nexus/video-vae-tiny"
    clips: int = 3000
    frames: int = 17
    batch_size: int = 48
    drop_text: float = 0.1
    dim: int = 256
    n_layers: int = 6

    def config(self, latent_scale: float) -> CogVideoXConfig:
        network = TransformerConfig(
            n_layers=self.n_layers,
            n_heads=self.dim // 64,
            text_dim=384,
            time_dim=256,
            positions="rope",
            sample_size=(8, 8),
            attend_padding=False,
        )
        return CogVideoXConfig(
            network=network,
            snr_shift=1.0,
            frames=self.frames,
            max_frames=self.frames,
            size=(64, 64),
            steps=20,
            guidance_scale=4.0,
            latent_scale=latent_scale,
        )

    def networks(self) -> dict[str, nn.Module]:
        return {"model": CogVideoX(self.config(self.latents("train").scale))}

    def objectives(self, networks: Networks) -> tuple[Objective, ...]:
        return (
            Objective("video", ("model",), lambda nets, batch, rng: nets["model"].loss(batch, rng), self.optimizer),
        )

    def latents(self, split: Literal["train", "valid"]) -> "CachedLatents":
        n = self.clips if split == "train" else 128
        cache_clips(self.cache, n, split, frames=self.frames, nouns=NOUNS)
        return CachedLatents(self.cache, split, self.vae)

    def dataset(self, split: Literal["train", "valid"]) -> BatchStream:
        drop = self.drop_text if split == "train" else 0.0
        return CaptionedLatents(self.latents(split), self.latents("train").scale, self.batch_size, drop, self.loop.seed)

    def samples(self, model: nn.Module, step: int) -> dict[str, Video]:
        assert isinstance(model, CogVideoX)
        model.vae, model.text_encoder = load(self.vae), minilm()
        prompts = [
            "a red boat crosses the sea from left to right",
            "a dog stands in the woods",
            "a rocket rises in space",
        ]
        videos = model.generate(prompts, seed=0)
        del model.vae, model.text_encoder
        assert isinstance(videos, list)
        return {
            f"{i}-{prompt[:20].replace(' ', '-')}": video
            for i, (prompt, video) in enumerate(zip(prompts, videos, strict=True))
        }

    def export(self, model: nn.Module, folder: Path) -> None:
        assert isinstance(model, CogVideoX)
        parts = {"vae": self.vae, "text_encoder": "minilm"}
        save_folder(model, folder, kind="cogvideox", config=model.config, parts=parts, dtype=torch.float16)


class CachedLatents:
    """Latents and text states of cached clips, computed once for each version of the autoencoder."""

    def __init__(self, folder: str, split: str, vae: str):
        path = Path(folder) / f"latents-{split}-{weights_hash(find(vae))}.safetensors"
        if not path.is_file():
            draft = path.with_suffix(".part")
            save_file(encode(Path(folder), split, load(vae)), draft)
            os.replace(draft, path)
        stored = load_file(path)
        self.latents, self.text, self.mask, self.null = (stored[k] for k in ("latents", "text", "mask", "null"))
        self.scale = 1 / float(self.latents.float().std())


@torch.no_grad()
def encode(folder: Path, split: str, vae: CogVideoXVAE) -> dict[str, Tensor]:
    """Means of all clips' latents [N, D, F, H, W] and the states of their captions [N, S, 384], half precision."""
    latents, captions = [], []
    for path in sorted(folder.glob(f"{split}-*.npy")):
        captions += [json.loads(line)["caption"] for line in path.with_suffix(".jsonl").read_text().splitlines()]
        for frames in np.array_split(np.load(path, mmap_mode="r"), 50):
            video = rearrange(torch.from_numpy(frames.copy()).float() / 127.5 - 1, "b f h w c -> b c f h w")
            latents.append(vae.encode(video).mean.half())
    encoder = minilm()
    encoder.pad_to = 32
    parts = [encoder(captions[i : i + 64]) for i in range(0, len(captions), 64)]
    null, _ = encoder([""])
    return {
        "latents": torch.cat(latents),
        "text": torch.cat([states for states, _ in parts]).half(),
        "mask": torch.cat([mask for _, mask in parts]),
        "null": null[0].half(),
    }


class CaptionedLatents:
    """Batch i: `latents` (scaled), `text` and `text_mask`; some captions are replaced by the empty prompt's states."""

    def __init__(self, cached: CachedLatents, scale: float, batch_size: int, drop_text: float, seed: int):
        self.cached, self.scale, self.batch_size, self.drop_text, self.seed = cached, scale, batch_size, drop_text, seed

    def __getitem__(self, index: int) -> Batch:
        n = len(self.cached.latents)
        per_epoch = max(n // self.batch_size, 1)
        epoch, place = divmod(index, per_epoch)
        order = np.random.default_rng([self.seed, 0, epoch]).permutation(n)
        rows = torch.from_numpy(order[place * self.batch_size : (place + 1) * self.batch_size])
        text, mask = self.cached.text[rows].float(), self.cached.mask[rows].clone()
        dropped = torch.from_numpy(np.random.default_rng([self.seed, 1, index]).random(len(rows)) < self.drop_text)
        text[dropped], mask[dropped] = self.cached.null.float(), self.cached.null.abs().sum(-1) > 0
        return {"latents": self.cached.latents[rows].float() * self.scale, "text": text, "text_mask": mask}


recipe = CogVideoXTiny()
