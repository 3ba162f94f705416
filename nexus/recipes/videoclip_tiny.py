"""`nexus/videoclip-tiny`: which words fit a clip, learnt from the storybook world, and from clips made again by
`nexus/cogvideox-tiny`, since it is to choose among what that makes."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor, nn

from nexus.data.captioned_sounds import mean_states
from nexus.data.captioned_videos import CaptionedVideos
from nexus.data.storybook import cache_clips
from nexus.data.tokens import kept
from nexus.media.video import Video
from nexus.models.video.videoclip import VideoCLIP, VideoCLIPConfig
from nexus.nn.checkpoint import save_folder
from nexus.nn.prepack import prepack
from nexus.recipes.cogvideox_tiny import LEARNED, PlainClip, plain_clips
from nexus.recipes.video_decoder_tiny import FPS, VideoDecoderTiny
from nexus.text.encoders import minilm
from nexus.training.recipe import Batch, BatchStream, LoopConfig, Networks, Objective, OptimizerConfig, Recipe


@dataclass(frozen=True, kw_only=True)
class VideoCLIPTiny(Recipe):
    name: str = "videoclip-tiny"
    loop: LoopConfig = LoopConfig(
        steps=1000, precision="auto", ema_decay=0.99, save_every=100, sample_every=0, validate_every=100
    )
    optimizer: OptimizerConfig = OptimizerConfig(lr=2e-3, betas=(0.9, 0.98), weight_decay=0.05, warmup_steps=100)
    model: VideoCLIPConfig = field(default_factory=VideoCLIPConfig)
    cache: str = "runs/cache/cogvideox"  # clips are rendered once into this folder
    nouns: tuple[str, ...] = LEARNED
    clips: int = 4000  # drawn; those with rain, snow or a second thing are left out
    valid_clips: int = 200
    making: VideoDecoderTiny = field(default_factory=VideoDecoderTiny)  # whose clips are made again
    made_share: float = 0.4
    batch_size: int = 64

    def networks(self) -> dict[str, nn.Module]:
        return {"model": VideoCLIP(self.model)}

    def objectives(self, networks: Networks) -> tuple[Objective, ...]:
        return (Objective("pairs", ("model",), self.loss, self.optimizer),)

    def loss(self, networks: Networks, batch: Batch, rng: torch.Generator) -> dict[str, Tensor]:
        model = networks["model"]
        assert isinstance(model, VideoCLIP)
        scores = model.scores(batch["video"], batch["text"], batch["text"].new_ones(batch["text"].shape[:2]).bool())
        found = batch["same"].gather(1, scores.argmax(1, keepdim=True)).float().mean()
        return {"loss": model.contrast(scores, batch["same"]), "words_found": found}

    def dataset(self, split: Literal["train", "valid"]) -> BatchStream:
        folder = Path(self.cache)
        cache_clips(folder, self.clips if split == "train" else self.valid_clips, split, nouns=self.nouns, frames=17)
        plain, (made, remade) = plain_clips(folder, split), self.made(split)
        captions = [clip.caption for clip in plain + made]
        path = folder / f"captions-{split}-{len(plain)}-{len(made)}.safetensors"
        text = kept(path, lambda: {"text": mean_states(minilm(), captions)})["text"]
        return CaptionedVideos(
            np.stack([clip.frames for clip in plain]),
            remade,
            captions,
            text,
            n_frames=self.model.frames,
            batch_size=self.batch_size,
            made_share=self.made_share,
            seed=self.loop.seed,
        )

    @torch.inference_mode()
    def made(self, split: Literal["train", "valid"]) -> tuple[list[PlainClip], UInt8[np.ndarray, "K F H W 3"]]:
        """Other clips than `clips`, and what the maker makes of them."""
        clips, latents = self.making.kept_latents(split)
        vae = prepack(self.making.before())
        pixels = torch.cat([vae.decode(latent[None].float()).clamp(-1, 1) for latent in latents["made"]])
        frames = ((pixels + 1) * 127.5).round().to(torch.uint8).permute(0, 2, 3, 4, 1)
        return clips, frames.numpy()

    def samples(self, model: nn.Module, step: int) -> dict[str, Video]:
        """Held-out clips side by side, as they are learnt from."""
        video = self.dataset("valid")[0]["video"][:8]
        frames = ((torch.cat(list(video), dim=-1) + 1) * 127.5).round().to(torch.uint8).permute(1, 2, 3, 0)
        return {"seen": Video(frames.numpy(), FPS)}

    def export(self, model: nn.Module, folder: Path) -> None:
        assert isinstance(model, VideoCLIP)
        parts = {"text_encoder": "minilm"}
        save_folder(model, folder, kind="videoclip", config=model.config, parts=parts, dtype=torch.int8)


recipe = VideoCLIPTiny()
