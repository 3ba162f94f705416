# The checker takes what nn.Module holds by name for tensors or modules of any kind.
# pyright: reportCallIssue=false
# pyright: reportGeneralTypeIssues=false
"""`nexus/video-vae-tiny`: CogVideoX's causal autoencoder on storybook clips, thin enough for a CPU.

The encoder is computed (principal components, `nexus.codecs.cogvideox_linear`) and stays as it is, so that a model
may learn on its latents from the first minute; the decoder is trained.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from einops import rearrange
from torch import Tensor, nn

from nexus.codecs.cogvideox_linear import set_linear_encoder
from nexus.codecs.cogvideox_vae import CogVideoXVAE, CogVideoXVAEConfig
from nexus.data.storybook import CachedStories, cache_clips
from nexus.hub.source import find
from nexus.hub.tensors import load_strict, read_tensors
from nexus.media.video import Video
from nexus.nn.checkpoint import save_folder
from nexus.training.recipe import Batch, BatchStream, LoopConfig, Networks, Objective, OptimizerConfig, Recipe

# Things that look unlike one another at 64 pixels.
NOUNS = (
    "lighthouse", "boat", "whale", "gull", "cat", "dog", "owl", "butterfly",
    "rocket", "balloon", "train", "house", "tree", "moon", "robot", "penguin",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class VideoVAETiny(Recipe):
    name: str = "video-vae-tiny"
    loop: LoopConfig = LoopConfig(
        steps=2200,
        precision="auto",
        ema_decay=0.995,
        log_every=20,
        save_every=100,
        sample_every=500,
        validate_every=250,
    )
    optimizer: OptimizerConfig = OptimizerConfig(lr=2e-3, warmup_steps=50, weight_decay=0.0)
    cache: str = "runs/cache/cogvideox"  # clips are rendered once into this folder
    nouns: tuple[str, ...] = NOUNS
    clips: int = 8000
    fitted_clips: int = 96  # the encoder's components are theirs
    batch_size: int = 4
    frames: int = 17  # whole clips: the first chunk of nine is coded otherwise than those of eight that follow it
    edge_weight: float = 1.0
    start: str = ""  # weights to go on from, such as nexus/video-vae-tiny, and whose latents stay; empty: anew

    def networks(self) -> dict[str, nn.Module]:
        config = CogVideoXVAEConfig(
            block_out_channels=(16, 32, 64),
            layers_per_block=1,
            latent_channels=16,
            norm_num_groups=4,
            scaling_factor=1.0,
        )
        vae = CogVideoXVAE(config)
        if self.start:
            load_strict(vae, read_tensors(find(self.start)), self.start)
            vae.encoder.requires_grad_(False)
            return {"model": vae}
        set_linear_encoder(vae, self.frames_of("train", self.fitted_clips)[0]["video"])
        vae.encoder.requires_grad_(False)
        for stage in (vae.decoder.mid_block, *vae.decoder.up_blocks):
            for resnet in stage.resnets:
                nn.init.zeros_(resnet.conv2.conv.weight)  # each block starts as the identity
        return {"model": vae}

    def objectives(self, networks: Networks) -> tuple[Objective, ...]:
        return (Objective("reconstruction", ("model",), self.loss, self.optimizer),)

    def loss(self, networks: Networks, batch: Batch, rng: torch.Generator) -> dict[str, Tensor]:
        """L1 of pixels and of their differences in space (edges carry what is recognised)."""
        vae, video = networks["model"], batch["video"]
        with torch.no_grad():
            latents = vae.encode(video).mean
        made = vae.decode(latents)
        pixels = (made - video).abs().mean()
        edges = sum((made.diff(dim=axis) - video.diff(dim=axis)).abs().mean() for axis in (3, 4))
        psnr = -10 * torch.log10((made - video).square().mean(dim=(1, 2, 3, 4)) / 4).mean()
        return {"loss": pixels + self.edge_weight * edges, "pixels": pixels, "psnr": psnr}

    def dataset(self, split: Literal["train", "valid"]) -> BatchStream:
        return self.frames_of(split, self.batch_size)

    def frames_of(self, split: Literal["train", "valid"], batch_size: int) -> BatchStream:
        n = self.clips if split == "train" else 100
        clips = cache_clips(self.cache, n, split, nouns=self.nouns, frames=17)
        return StorybookFrames(clips, batch_size, self.frames, self.loop.seed)

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

    def __init__(self, clips: CachedStories, batch_size: int, frames: int, seed: int):
        self.shards, self.batch_size, self.frames, self.seed = clips.frames, batch_size, frames, seed

    def __getitem__(self, index: int) -> Batch:
        rng = np.random.default_rng([self.seed, index])
        clips = []
        for _ in range(self.batch_size):
            shard = self.shards[int(rng.integers(len(self.shards)))]
            start = int(rng.integers(shard.shape[1] - self.frames + 1))
            clips.append(shard[int(rng.integers(len(shard))), start : start + self.frames])
        video = torch.from_numpy(np.stack(clips)).float() / 127.5 - 1
        return {"video": rearrange(video, "b f h w c -> b c f h w").contiguous()}


recipe = VideoVAETiny()
