# The checker takes what nn.Module holds by name for tensors or modules of any kind.
# pyright: reportCallIssue=false
"""`nexus/video-vae-tiny`'s decoder, taught on with latents that `nexus/cogvideox-tiny` makes.

Encoded clips stay in every batch, so that reconstruction is kept; the encoder stays, and with it the latents. What is
exported lies between the weights before and after (WiSE-FT, arXiv:2109.01903): wholly taught on, the decoder smooths
more than the model's errors.
"""

import copy
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from einops import rearrange
from torch import Tensor, nn

from nexus.codecs.cogvideox_vae import CogVideoXVAE
from nexus.data.remade_video import remade_latents
from nexus.data.storybook import CachedClip, cache_clips
from nexus.data.tokens import kept
from nexus.hub.load import load
from nexus.hub.source import find
from nexus.hub.tensors import read_tensors
from nexus.media.video import Video
from nexus.models.video.cogvideox import CogVideoX
from nexus.nn.checkpoint import save_folder
from nexus.nn.prepack import prepack
from nexus.recipes.cogvideox_tiny import LEARNED, encoder_hash, plain_clips
from nexus.training.recipe import Batch, BatchStream, LoopConfig, Networks, Objective, OptimizerConfig, Recipe

FPS = 8


@dataclass(frozen=True, kw_only=True)
class VideoDecoderTiny(Recipe):
    name: str = "video-decoder-tiny"
    loop: LoopConfig = LoopConfig(
        steps=600, precision="auto", ema_decay=0.99, log_every=20, save_every=100, sample_every=300, validate_every=100
    )
    optimizer: OptimizerConfig = OptimizerConfig(lr=1e-3, warmup_steps=50, weight_decay=0.0)
    cache: str = "runs/cache/video-decoder"  # clips are rendered, encoded and made again once into this folder
    start: str = "nexus/video-vae-tiny"
    maker: str = "nexus/cogvideox-tiny"  # of latents, in the space of `start`
    nouns: tuple[str, ...] = LEARNED  # what the maker knows
    clips: int = 480  # drawn; those with rain, snow or a second thing are left out
    valid_clips: int = 24
    batch_size: int = 4  # half of them encoded, half made
    edge_weight: float = 1.0
    change_weight: float = 1.0
    share: float = 0.25  # of the way from the weights before to those after, at which the exported ones lie

    def __post_init__(self) -> None:
        if self.batch_size < 2 or self.batch_size % 2:
            raise ValueError(f"batch_size must be even, half encoded clips and half made ones, got {self.batch_size}")
        if not 0 < self.share <= 1:
            raise ValueError(
                f"share must be over 0 (the weights before) and at most 1 (those after), got {self.share:g}"
            )

    def networks(self) -> dict[str, nn.Module]:
        vae = self.before().requires_grad_(True)
        vae.encoder.requires_grad_(False)
        return {"model": vae}

    def before(self) -> CogVideoXVAE:
        vae = load(self.start, device="cpu")
        if not isinstance(vae, CogVideoXVAE):
            raise ValueError(f"{self.name} goes on from CogVideoX's autoencoder, and {self.start} is another model")
        return vae.float()

    def objectives(self, networks: Networks) -> tuple[Objective, ...]:
        return (Objective("decoding", ("model",), self.loss, self.optimizer),)

    def loss(self, networks: Networks, batch: Batch, rng: torch.Generator) -> dict[str, Tensor]:
        """L1 of pixels, of their differences in space (edges carry what is recognised) and in time (flicker)."""
        video, made = batch["video"], networks["model"].decode(batch["latents"])
        pixels = (made - video).abs().mean()
        edges = sum((made.diff(dim=axis) - video.diff(dim=axis)).abs().mean() for axis in (3, 4))
        change = (made.diff(dim=2) - video.diff(dim=2)).abs().mean()
        half = len(video) // 2
        error = (made.detach() - video).square().mean(dim=(1, 2, 3, 4))
        psnr = -10 * torch.log10(error / 4)
        flicker = made.detach().diff(dim=2).abs().mean(dim=(1, 2, 3, 4)) / video.diff(dim=2).abs().mean()
        return {
            "loss": pixels + self.edge_weight * edges + self.change_weight * change,
            "pixels": pixels,
            "psnr": psnr[:half].mean(),
            "psnr_made": psnr[half:].mean(),
            "change_made": flicker[half:].mean(),
        }

    def dataset(self, split: Literal["train", "valid"]) -> BatchStream:
        clips, latents = self.kept_latents(split)
        return DecodedClips(np.stack([clip.frames for clip in clips]), latents, self.batch_size, self.loop.seed)

    def kept_latents(self, split: Literal["train", "valid"]) -> tuple[list[CachedClip], dict[str, Tensor]]:
        """Clips and their latents, which a better decoder leaves valid."""
        n = self.clips if split == "train" else self.valid_clips
        clips = plain_clips(cache_clips(self.cache, n, split, nouns=self.nouns, frames=17))
        name = f"{split}-{len(clips)}-{encoder_hash(self.start)}-{self.network_hash()}.safetensors"
        return clips, kept(Path(self.cache) / name, lambda: self.latents_of(clips))

    def network_hash(self) -> str:
        """Of the maker without its autoencoder."""
        digest = hashlib.sha256()
        for name, tensor in sorted(read_tensors(find(self.maker)).items()):
            digest.update(name.encode() + tensor.numpy().tobytes())
        return digest.hexdigest()[:16]

    @torch.inference_mode()
    def latents_of(self, clips: list[CachedClip]) -> dict[str, Tensor]:
        """Of the clips, "encoded" and "made", [N, D, F, H, W] in half precision."""
        maker = load(self.maker, device="cpu")
        if not isinstance(maker, CogVideoX):
            raise ValueError(f"latents are made by a CogVideoX, and {self.maker} is a {type(maker).__name__}")
        prepack(maker)
        scale, vae = maker.config.latent_scale, prepack(self.before())
        encoded = torch.cat([vae.encode(Video(clip.frames, FPS).tensor()[None]).mean for clip in clips])
        made = remade_latents(maker, scale * encoded, [clip.caption for clip in clips], self.loop.seed) / scale
        return {"encoded": encoded.half().contiguous(), "made": made.half().contiguous()}

    def samples(self, model: nn.Module, step: int) -> dict[str, Video]:
        """Held-out clips above what the decoder makes of latents, encoded and made."""
        assert isinstance(model, CogVideoXVAE)
        batch = self.dataset("valid")[0]
        both = torch.cat([batch["video"], model.decode(batch["latents"])], dim=3).clamp(-1, 1)
        frames = ((rearrange(both, "b c f h w -> f h (b w) c") + 1) * 127.5).round().to(torch.uint8).numpy()
        return {"decoded": Video(frames, FPS)}

    def export(self, model: nn.Module, folder: Path) -> None:
        assert isinstance(model, CogVideoXVAE)
        model = copy.deepcopy(model)
        with torch.no_grad():
            for learnt, before in zip(model.parameters(), self.before().parameters(), strict=True):
                learnt.copy_(torch.lerp(before.to(learnt), learnt, self.share))
        save_folder(model, folder, kind="cogvideox-vae", config=model.config, dtype=torch.float16)


class DecodedClips:
    """Batch i, drawn by (seed, i): `video` [B, 3, F, H, W] in [-1, 1] and `latents`, encoded ones before made ones."""

    def __init__(self, frames: np.ndarray, latents: dict[str, Tensor], batch_size: int, seed: int):
        self.frames, self.latents, self.batch_size, self.seed = frames, latents, batch_size, seed

    def __getitem__(self, index: int) -> Batch:
        rows = np.random.default_rng([self.seed, index]).integers(len(self.frames), size=self.batch_size)
        encoded, made = torch.from_numpy(rows).chunk(2)
        latents = torch.cat([self.latents["encoded"][encoded], self.latents["made"][made]]).float()
        return {"video": torch.stack([Video(self.frames[row], FPS).tensor() for row in rows]), "latents": latents}


recipe = VideoDecoderTiny()
