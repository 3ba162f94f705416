"""`nexus/video-vae-tiny`: CogVideoX's causal autoencoder on storybook clips, thin enough for a CPU."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from einops import rearrange
from torch import Tensor, nn

from nexus.codecs.cogvideox_vae import CogVideoXVAE, CogVideoXVAEConfig
from nexus.data.storybook import cache_clips
from nexus.media.video import Video
from nexus.nn.checkpoint import save_folder
from nexus.training.recipe import Batch, BatchStream, LoopConfig, Networks, Objective, OptimizerConfig, Recipe


@dataclass(frozen=True, kw_only=True)
class VideoVAETiny(Recipe):
    name: str = "video-vae-tiny"
    loop: LoopConfig = LoopConfig(
        steps=2000, ema_decay=0.995, log_every=20, save_every=100, sample_every=500, validate_every=500
    )
    optimizer: OptimizerConfig = OptimizerConfig(lr=2e-3, warmup_steps=50, weight_decay=0.0)
    cache: str = "runs/cache/storybook"  # clips are rendered once into this folder
    clips: int = 1000
    batch_size: int = 3
    frames: int = 9
    crop: int = 32  # side of the square that is cut from each frame: many cheap steps beat few whole pictures
    kl_weight: float = 1e-5
    edge_weight: float = 1.0

    def networks(self) -> dict[str, nn.Module]:
        config = CogVideoXVAEConfig(
            block_out_channels=(8, 24, 48, 64),
            layers_per_block=1,
            latent_channels=16,
            norm_num_groups=4,
            scaling_factor=1.0,
        )
        return {"model": CogVideoXVAE(config)}

    def objectives(self, networks: Networks) -> tuple[Objective, ...]:
        return (Objective("reconstruction", ("model",), self.loss, self.optimizer),)

    def loss(self, networks: Networks, batch: Batch, rng: torch.Generator) -> dict[str, Tensor]:
        """L1 of pixels and of their differences in space (edges carry what is recognised), and a little KL."""
        vae, video = networks["model"], batch["video"]
        latents = vae.encode(video)
        noise = torch.randn(latents.mean.shape, generator=rng).to(video)
        made = vae.decode(latents.sample(noise))
        pixels = (made - video).abs().mean()
        edges = sum((made.diff(dim=axis) - video.diff(dim=axis)).abs().mean() for axis in (3, 4))
        kl = latents.kl()
        psnr = -10 * torch.log10((made - video).square().mean() / 4)
        loss = pixels + self.edge_weight * edges + self.kl_weight * kl
        return {"loss": loss, "pixels": pixels, "kl": kl, "psnr": psnr}

    def dataset(self, split: Literal["train", "valid"]) -> BatchStream:
        n = self.clips if split == "train" else 128
        cache_clips(self.cache, n, split)
        crop = self.crop if split == "train" else 64
        return StorybookFrames(self.cache, split, self.batch_size, self.frames, crop, self.loop.seed)

    def samples(self, model: nn.Module, step: int) -> dict[str, Video]:
        """Held-out clips above what the codec makes of them."""
        assert isinstance(model, CogVideoXVAE)
        video = self.dataset("valid")[0]["video"]
        both = torch.cat([video, model.decode(model.encode(video).mean)], dim=3).clamp(-1, 1)
        frames = ((rearrange(both, "b c f h w -> f h (b w) c") + 1) * 127.5).round().to(torch.uint8).numpy()
        return {"reconstruction": Video(frames, 8)}

    def export(self, model: nn.Module, folder: Path) -> None:
        assert isinstance(model, CogVideoXVAE)
        save_folder(model, folder, kind="cogvideox-vae", config=model.config, dtype=torch.float16)


class StorybookFrames:
    """Batch i: `video` [B, 3, F, H, W] in [-1, 1], frames cut from cached clips, drawn by (seed, i)."""

    def __init__(self, folder: str | Path, split: str, batch_size: int, frames: int, crop: int, seed: int):
        self.shards = [np.load(path, mmap_mode="r") for path in sorted(Path(folder).glob(f"{split}-*.npy"))]
        self.batch_size, self.frames, self.crop, self.seed = batch_size, frames, crop, seed

    def __getitem__(self, index: int) -> Batch:
        rng = np.random.default_rng([self.seed, index])
        clips = []
        for _ in range(self.batch_size):
            shard = self.shards[int(rng.integers(len(self.shards)))]
            start = int(rng.integers(shard.shape[1] - self.frames + 1))
            top, left = rng.integers(shard.shape[2] - self.crop + 1, size=2)
            rows, columns = slice(top, top + self.crop), slice(left, left + self.crop)
            clips.append(shard[int(rng.integers(len(shard))), start : start + self.frames, rows, columns])
        video = torch.from_numpy(np.stack(clips)).float() / 127.5 - 1
        return {"video": rearrange(video, "b f h w c -> b c f h w").contiguous()}


recipe = VideoVAETiny()
