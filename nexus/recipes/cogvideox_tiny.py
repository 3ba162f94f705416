# The checker takes what nn.Module holds by name for tensors or modules of any kind.
# pyright: reportCallIssue=false
# pyright: reportAttributeAccessIssue=false
"""`nexus/cogvideox-tiny`: CogVideoX on storybook clips, over the latents of `nexus/video-vae-tiny`."""

import copy
import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Bool, UInt8
from torch import Tensor, nn
from torch.nn import functional as F

from nexus.codecs.cogvideox_vae import CogVideoXVAE
from nexus.data.reported import reported
from nexus.data.storybook import CachedClip, cache_clips
from nexus.data.tokens import kept
from nexus.hub.load import load
from nexus.hub.source import find
from nexus.hub.tensors import load_strict, read_tensors
from nexus.media.video import Video
from nexus.models.video.cogvideox import CogVideoX, CogVideoXConfig
from nexus.models.video.cogvideox_transformer import TransformerConfig
from nexus.nn.checkpoint import save_folder
from nexus.nn.embed import timestep_embedding
from nexus.nn.modulation import shrink, widen
from nexus.text.encoders import minilm
from nexus.training.recipe import Batch, BatchStream, LoopConfig, Networks, Objective, OptimizerConfig, Recipe

# The first things that it learns; the codec knows more.
LEARNED = ("lighthouse", "boat", "gull", "moon", "house", "whale", "cat", "rocket", "balloon", "tree")
PROMPTS = (
    "a boat crosses the sea from left to right",
    "a dog stands in a green meadow",
    "a rocket rises in space",
)


@dataclass(frozen=True, kw_only=True)
class CogVideoXTiny(Recipe):
    """Stills (single latent frames) come first: they teach what things look like at a fraction of a clip's cost."""

    name: str = "cogvideox-tiny"
    loop: LoopConfig = LoopConfig(
        steps=15500, precision="auto", ema_decay=0.998, log_every=20, save_every=100, sample_every=0
    )
    optimizer: OptimizerConfig = OptimizerConfig(lr=1e-3, betas=(0.9, 0.98), warmup_steps=100, weight_decay=0.01)
    cache: str = "runs/cache/storybook"
    vae: str = "nexus/video-vae-tiny"
    nouns: tuple[str, ...] = LEARNED
    clips: int = 6000  # drawn; those with rain, snow or a second thing are left out
    frames: int = 17
    variety: float = (
        0.25  # of sizes, places of rest and ways to look: what is nowhere twice the same is learnt as a blot
    )
    still_steps: int = 2000  # of stills alone
    still_share: float = 0.2  # of the batches after that
    stills_per_batch: int = 32
    clips_per_batch: int = 8
    drop_text: float = 0.1
    noise_shift: float = (
        3.0  # of the steps learnt at (arXiv:2403.03206, eq. 23): what things look like is decided early
    )
    emphasis: float = 3.0  # what the thing counts more than its background, which fills most of a frame
    dim: int = 256
    n_layers: int = 6
    start: str = ""  # weights to learn on from, such as nexus/cogvideox-tiny, with as many blocks or fewer; empty: none
    modulation_rank: int = 12  # of the blocks' modulations in the exported weights: 0.5 % off

    def __post_init__(self) -> None:
        if self.noise_shift <= 0:
            raise ValueError(f"noise_shift must be above 0 (1 draws steps evenly), got {self.noise_shift:g}")

    def config(self) -> CogVideoXConfig:
        network = TransformerConfig(
            n_layers=self.n_layers,
            n_heads=self.dim // 32,
            head_dim=32,
            text_dim=384,
            time_dim=128,
            positions="rope",
            sample_size=(16, 16),
            attend_padding=False,
        )
        return CogVideoXConfig(
            network=network,
            snr_shift=2.0,
            frames=self.frames,
            max_frames=self.frames,
            size=(64, 64),
            steps=50,
            solver="ddpm",  # fresh noise mends what earlier steps drew wrong
            guidance_scale=3.0,
            latent_scale=1.0,
        )

    def networks(self) -> dict[str, nn.Module]:
        if self.start:
            return {"model": self.learnt()}
        model = CogVideoX(self.config())
        for name, parameter in model.named_parameters():
            if "modulation" in name or "proj_out" in name:
                nn.init.zeros_(parameter)  # adaLN-Zero (arXiv:2212.09748): blocks start as the identity
        return {"model": model}

    def learnt(self) -> CogVideoX:
        """The weights to go on from, their modulations whole again and their blocks as many as are asked for."""
        loaded = load(self.start, device="cpu", dtype="fp32")
        if not isinstance(loaded, CogVideoX):
            raise ValueError(f"start must be weights of a CogVideoX, and {self.start} is a {type(loaded).__name__}")
        small = loaded.network
        widen(small.blocks)
        small.blocks = deepened(small.blocks, self.n_layers)
        model = CogVideoX(self.config())
        load_strict(model.network, small.state_dict(), self.start)
        return model

    def objectives(self, networks: Networks) -> tuple[Objective, ...]:
        return (
            Objective("video", ("model",), lambda nets, batch, rng: nets["model"].loss(batch, rng), self.optimizer),
        )

    def dataset(self, split: Literal["train", "valid"]) -> BatchStream:
        folder, n = Path(self.cache) / f"variety-{self.variety:g}", self.clips if split == "train" else 100
        clips = cache_clips(folder, n, split, nouns=self.nouns, frames=self.frames, variety=self.variety)
        path = folder / f"latents-{split}-{n}-{encoder_hash(self.vae)}.safetensors"
        return LatentClips(self, split, kept(path, lambda: encode(plain_clips(clips), load(self.vae))))

    def samples(self, model: nn.Module, step: int) -> dict[str, Video]:
        assert isinstance(model, CogVideoX)
        model.vae, model.text_encoder = load(self.vae), minilm()
        videos = model.generate(list(PROMPTS), seed=0)
        del model.vae, model.text_encoder
        assert isinstance(videos, list)
        return {prompt.replace(" ", "-"): video for prompt, video in zip(PROMPTS, videos, strict=True)}

    def export(self, model: nn.Module, folder: Path) -> None:
        assert isinstance(model, CogVideoX)
        parts = {"vae": self.vae, "text_encoder": "minilm"}
        small = with_small_modulation(model, self.modulation_rank)
        save_folder(small, folder, kind="cogvideox", config=small.config, parts=parts, dtype=torch.float16)


@torch.no_grad()
def deepened(blocks: nn.ModuleList, n_layers: int) -> nn.ModuleList:
    """As many blocks, computing the same: copies with shut gates among the old ones (arXiv:2401.02415, section 3.2)."""
    if n_layers < len(blocks):
        raise ValueError(f"n_layers must be at least the {len(blocks)} of the weights to go on from, got {n_layers}")
    places, deeper = [i * len(blocks) // n_layers for i in range(n_layers)], nn.ModuleList()
    for i, place in enumerate(places):
        block = copy.deepcopy(blocks[place])
        if i and place == places[i - 1]:
            for norm in (block.norm1, block.norm2):
                for part in norm.modulation.parameters():
                    part.unflatten(0, (6, -1))[[2, 5]] = 0  # the gates of video and of text
        deeper.append(block)
    return deeper


@torch.no_grad()
def with_small_modulation(model: CogVideoX, rank: int) -> CogVideoX:
    """The model with modulations of a low rank: they are functions of the time alone."""
    network = copy.deepcopy(model.network)
    steps = torch.arange(model.schedule.n_steps, dtype=torch.float32)
    times = network.time_embed(timestep_embedding(steps, network.config.dim))
    shrink(network.blocks, F.silu(times), rank)
    small = CogVideoX(replace(model.config, network=replace(network.config, modulation_rank=rank)))
    small.network.load_state_dict(network.state_dict())
    return small


def plain_clips(clips: Iterable[CachedClip]) -> list[CachedClip]:
    """Those that show one thing in clear weather."""
    return [clip for clip in clips if clip.facts.weather == "clear" and clip.facts.companion is None]


def encoder_hash(vae: str) -> str:
    """SHA-256 over the tensors of an autoencoder's encoder, 16 hex digits."""
    digest = hashlib.sha256()
    for name, tensor in sorted(read_tensors(find(vae)).items()):
        if name.startswith("encoder."):
            digest.update(name.encode() + tensor.numpy().tobytes())
    return digest.hexdigest()[:16]


@torch.no_grad()
def encode(clips: Sequence[CachedClip], vae: CogVideoXVAE) -> dict[str, Tensor]:
    """Means of the clips' latents [N, D, F, H, W] and the states of their captions [N, S, 384], half precision.

    "things" [N, F, H, W] is true for the latents whose pixels show the thing in any of their frames.
    """
    latents = []
    for start in reported(range(0, len(clips), 8), "encoding clips, 8 at a time"):
        video = torch.from_numpy(np.stack([clip.frames for clip in clips[start : start + 8]])).float() / 127.5 - 1
        latents.append(vae.encode(rearrange(video, "b f h w c -> b c f h w")).mean.half())
    shown = torch.from_numpy(np.stack([clip.thing for clip in clips]))
    encoder, captions = minilm(), [clip.caption for clip in clips]
    encoder.pad_to = 40
    parts = [encoder(captions[start : start + 64]) for start in range(0, len(captions), 64)]
    null, null_mask = encoder([""])
    return {
        "latents": torch.cat(latents),
        "things": on_latents(shown, vae.config.temporal_compression_ratio, vae.config.spatial_compression_ratio),
        "text": torch.cat([states for states, _ in parts]).half(),
        "mask": torch.cat([mask for _, mask in parts]),
        "null": null[0].half(),
        "null_mask": null_mask[0],
    }


def on_latents(thing: UInt8[Tensor, "N T Y X"], per_frame: int, per_side: int) -> Bool[Tensor, "N F H W"]:
    """Where more than half of a pixel that a latent stands for is covered; the first frame has latents of its own."""
    covered = F.max_pool2d((thing > 127).flatten(0, 1)[:, None].float(), per_side)[:, 0].unflatten(0, thing.shape[:2])
    later = rearrange(covered[:, 1:], "n (f t) h w -> n f t h w", t=per_frame).amax(2)
    return torch.cat([covered[:, :1], later], 1).bool()


class LatentClips:
    """Batch i, drawn by (seed, i): stills until `still_steps`, then clips too; some captions become the empty one."""

    def __init__(self, recipe: CogVideoXTiny, split: str, encoded: dict[str, Tensor]):
        self.recipe, self.split, self.encoded = recipe, split, encoded

    def __getitem__(self, index: int) -> Batch:
        recipe, encoded = self.recipe, self.encoded
        rng = np.random.default_rng([recipe.loop.seed, index])
        stills = self.split == "train" and (index < recipe.still_steps or rng.random() < recipe.still_share)
        n = recipe.stills_per_batch if stills else recipe.clips_per_batch
        rows = torch.from_numpy(rng.integers(len(encoded["latents"]), size=n))
        latents, things, text, mask = (encoded[name][rows] for name in ("latents", "things", "text", "mask"))
        latents, text = latents.float(), text.float()
        if stills:
            frame = torch.from_numpy(rng.integers(latents.shape[2], size=n))
            latents, things = latents[torch.arange(n), :, frame, None], things[torch.arange(n), frame, None]
        if self.split == "train":
            dropped = torch.from_numpy(rng.random(n) < recipe.drop_text)
            text[dropped], mask[dropped] = encoded["null"].float(), encoded["null_mask"]
        length = int(mask.sum(1).max())
        batch = {"latents": latents, "text": text[:, :length], "text_mask": mask[:, :length]}
        if self.split == "train":
            batch["emphasis"] = recipe.emphasis * things.float()
            places, shift = torch.from_numpy((np.arange(n) + rng.random(n)) / n), recipe.noise_shift
            batch["place"] = (shift * places / (1 + (shift - 1) * places)).float()
        return batch


recipe = CogVideoXTiny()
