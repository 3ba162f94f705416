# The checker takes what nn.Module holds by name for tensors or modules of any kind.
# pyright: reportCallIssue=false
"""`nexus/image-tiny`: PixArt with flow matching on storybook stills, over the latents of `nexus/video-vae-tiny`."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

from nexus.codecs.stills import Stills
from nexus.data.reported import reported
from nexus.data.storybook import still
from nexus.hub.load import load
from nexus.media.image import Image
from nexus.models.diffusion.pixart_alpha import PixArt, PixArtConfig
from nexus.models.diffusion.pixart_transformer import PixArtTransformerConfig
from nexus.nn.checkpoint import save_folder
from nexus.recipes.cogvideox_tiny import encoder_hash
from nexus.text.encoders import minilm
from nexus.training.recipe import Batch, BatchStream, LoopConfig, Networks, Objective, OptimizerConfig, Recipe

LEARNED = (
    *("lighthouse", "boat", "gull", "moon", "house", "whale", "cat", "rocket", "balloon", "tree"),
    *("dog", "car", "sun", "castle", "flower", "star", "fish", "train", "bear", "snowman"),
)
PROMPTS = (
    *("a red boat on the sea", "a black cat stands in a meadow", "a lighthouse stands on a rock at night"),
    *("a snowman in the mountains, snow falls", "a rocket floats in space", "a house in the forest at sunset"),
)
SHARD, VALID = 500, 500  # stills that are drawn and encoded at once; and of the valid split


@dataclass(frozen=True, kw_only=True)
class ImageTiny(Recipe):
    name: str = "image-tiny"
    loop: LoopConfig = LoopConfig(
        steps=4000, precision="auto", ema_decay=0.998, log_every=20, save_every=200, sample_every=0
    )
    optimizer: OptimizerConfig = OptimizerConfig(lr=1e-3, betas=(0.9, 0.98), warmup_steps=100, weight_decay=0.01)
    cache: str = "runs/cache/stills"
    vae: str = "nexus/video-vae-tiny"
    nouns: tuple[str, ...] = LEARNED
    stills: int = 20_000
    batch_size: int = 32
    drop_text: float = 0.1
    emphasis: float = 3.0  # what the thing counts more than its background, which fills most of a picture
    dim: int = 256
    n_layers: int = 8

    def config(self) -> PixArtConfig:
        network = PixArtTransformerConfig(
            n_layers=self.n_layers,
            n_heads=self.dim // 32,
            head_dim=32,
            in_channels=16,
            out_channels=16,
            text_dim=384,
            sample_size=16,
        )
        return PixArtConfig(
            network=network,
            process="flow",
            shift=2.0,
            size=(64, 64),
            steps=20,
            guidance_scale=3.0,
            solver="dpmpp-2m",
        )

    def networks(self) -> dict[str, nn.Module]:
        model = PixArt(self.config())
        for name, parameter in model.named_parameters():
            if name.startswith(("network.modulation", "network.proj_out")) or ".text_attn.out." in name:
                nn.init.zeros_(parameter)  # blocks that add little at first (adaLN-Zero, arXiv:2212.09748)
        return {"model": model}

    def objectives(self, networks: Networks) -> tuple[Objective, ...]:
        return (
            Objective("image", ("model",), lambda nets, batch, rng: nets["model"].loss(batch, rng), self.optimizer),
        )

    def dataset(self, split: Literal["train", "valid"]) -> BatchStream:
        return LatentStills(self, split, encoded(self, split))

    def samples(self, model: nn.Module, step: int) -> dict[str, Image]:
        assert isinstance(model, PixArt)
        model.image_vae, model.text_encoder = Stills(load(self.vae)), minilm()
        images = model.generate(list(PROMPTS), seed=0)
        del model.image_vae, model.text_encoder
        assert isinstance(images, list)
        return {prompt.replace(" ", "-"): image for prompt, image in zip(PROMPTS, images, strict=True)}

    def export(self, model: nn.Module, folder: Path) -> None:
        assert isinstance(model, PixArt)
        parts = {"image_vae": self.vae, "text_encoder": "minilm"}
        save_folder(model, folder, kind="pixart", config=model.config, parts=parts, dtype=torch.float16)


def encoded(recipe: ImageTiny, split: Literal["train", "valid"]) -> dict[str, Tensor]:
    """Latents [N, D, H, W] of a split's stills, where their things are [N, H, W] and the states of their captions.

    They are drawn and encoded once for each encoder, shard by shard; a stopped run goes on.
    """
    folder = Path(recipe.cache) / encoder_hash(recipe.vae)
    folder.mkdir(parents=True, exist_ok=True)
    n, shards = (recipe.stills if split == "train" else VALID), []
    codec = text_encoder = None
    for start in reported(range(0, n, SHARD), f"drawing and encoding stills, {SHARD} at a time"):
        path = folder / f"{split}-{start // SHARD:05d}.safetensors"
        if not path.is_file():
            if codec is None:
                codec, text_encoder = Stills(load(recipe.vae)), minilm()
                text_encoder.pad_to = 40
            draft = path.with_suffix(".part")
            save_file(encode(recipe, split, range(start, min(start + SHARD, n)), codec, text_encoder), draft)
            os.replace(draft, path)
        shards.append(load_file(path))
    return {name: torch.cat([shard[name] for shard in shards]) for name in shards[0]}


@torch.no_grad()
def encode(
    recipe: ImageTiny, split: Literal["train", "valid"], seeds: range, codec: Stills, text_encoder
) -> dict[str, Tensor]:
    """One shard, in half precision."""
    drawn = [still(seed, split, size=recipe.config().size[0], nouns=recipe.nouns) for seed in seeds]
    pixels = torch.from_numpy(np.concatenate([one.frames for one in drawn])).float().permute(0, 3, 1, 2) / 127.5 - 1
    things = torch.from_numpy(np.concatenate([one.thing for one in drawn]))
    side = codec.config.spatial_compression_ratio
    states, mask = text_encoder([one.caption for one in drawn])
    return {
        "latents": torch.cat([codec.scaled(codec.encode(part).mean).half() for part in pixels.split(50)]),
        "things": F.max_pool2d((things > 127).float()[:, None], side)[:, 0].bool(),
        "text": states.half(),
        "mask": mask,
    }


class LatentStills:
    """Batch i, drawn by (seed, i); some captions become the empty one."""

    def __init__(self, recipe: ImageTiny, split: str, stored: dict[str, Tensor]):
        self.recipe, self.split, self.stored = recipe, split, stored
        encoder = minilm()
        encoder.pad_to = stored["text"].shape[1]
        null, null_mask = encoder([""])
        self.null, self.null_mask = null[0], null_mask[0]

    def __getitem__(self, index: int) -> Batch:
        recipe, stored = self.recipe, self.stored
        rng = np.random.default_rng([recipe.loop.seed, index])
        n = recipe.batch_size
        rows = torch.from_numpy(rng.integers(len(stored["latents"]), size=n))
        batch = {name: tensor[rows] for name, tensor in stored.items()}
        text, mask = batch["text"].float(), batch["mask"]
        if self.split == "train":
            dropped = torch.from_numpy(rng.random(n) < recipe.drop_text)
            text[dropped], mask[dropped] = self.null, self.null_mask
        length = int(mask.sum(1).max())
        given = {"latents": batch["latents"].float(), "text": text[:, :length], "text_mask": mask[:, :length]}
        return given | ({"emphasis": recipe.emphasis * batch["things"].float()} if self.split == "train" else {})


recipe = ImageTiny()
