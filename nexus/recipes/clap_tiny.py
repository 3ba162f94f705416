"""`nexus/clap-tiny`: which words fit a sound, learnt from synthesised sounds and the rule-based composer's pieces."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from nexus.data import music, sound
from nexus.data.captioned_sounds import CaptionedSounds, mean_states, through_codec
from nexus.data.clips import CachedClips
from nexus.data.tokens import kept
from nexus.hub.load import load, weights_hash
from nexus.hub.source import find
from nexus.models.audio.clap import Clap, ClapConfig
from nexus.nn.checkpoint import save_folder
from nexus.nn.prepack import prepack
from nexus.text.encoders import minilm
from nexus.training.batches import Mixed
from nexus.training.recipe import Batch, BatchStream, LoopConfig, Networks, Objective, OptimizerConfig, Recipe


@dataclass(frozen=True, kw_only=True)
class ClapTiny(Recipe):
    """Every batch is of one world: words are told apart from others that could be meant there."""

    name: str = "clap-tiny"
    loop: LoopConfig = LoopConfig(
        steps=1000, precision="fp32", ema_decay=0.99, save_every=100, sample_every=0, validate_every=100
    )
    optimizer: OptimizerConfig = OptimizerConfig(lr=2e-3, betas=(0.9, 0.98), weight_decay=0.05, warmup_steps=100)
    model: ClapConfig = field(default_factory=ClapConfig)
    cache: str = "runs/cache/clap"  # clips are rendered, and coded, once into this folder
    codec: str = "nexus/encodec-tiny"  # made sounds have passed it; so have most that are learnt from
    n_sounds: int = 4000
    sound_seconds: float = 4.0
    n_pieces: int = 2500
    piece_seconds: float = 10.0
    n_valid: int = 120  # of each
    n_captions: int = 4  # of each clip
    batch_size: int = 64
    music_share: float = 0.6  # of the batches
    coded_share: float = 0.7
    shortest: float = 0.75  # of a clip, from which a batch's crops are cut

    def networks(self) -> dict[str, nn.Module]:
        return {"model": Clap(self.model)}

    def objectives(self, networks: Networks) -> tuple[Objective, ...]:
        return (Objective("pairs", ("model",), self.loss, self.optimizer),)

    def loss(self, networks: Networks, batch: Batch, rng: torch.Generator) -> dict[str, Tensor]:
        model = networks["model"]
        assert isinstance(model, Clap)
        scores = model.scores(batch["waveform"], batch["text"], batch["text"].new_ones(batch["text"].shape[:2]).bool())
        found = batch["same"].gather(1, scores.argmax(1, keepdim=True)).float().mean()
        return {"loss": model.contrast(scores, batch["same"]), "words_found": found}

    def dataset(self, split: Literal["train", "valid"]) -> BatchStream:
        pieces, sounds = self.world("music", split), self.world("sound", split)
        return Mixed(pieces, sounds, self.music_share, self.loop.seed)

    def world(self, world: Literal["music", "sound"], split: Literal["train", "valid"]) -> CaptionedSounds:
        folder = Path(self.cache) / world / split
        if world == "music":
            music.cache_clips(folder, self.n_pieces if split == "train" else self.n_valid, self.piece_seconds, split)
        else:
            sound.cache_clips(folder, self.n_sounds if split == "train" else self.n_valid, self.sound_seconds, split)
        clips = CachedClips(folder)
        said = [clip.facts["captions"] for clip in clips]
        captions = [of_clip[j % len(of_clip)] for of_clip in said for j in range(self.n_captions)]
        codec, name = prepack(load(self.codec, device="cpu")), f"{world}-{split}-{len(clips)}"
        coded = through_codec(codec, clips, Path(self.cache) / f"{name}-{weights_hash(find(self.codec))}.npy")
        path = Path(self.cache) / f"{name}-text-{self.n_captions}.safetensors"
        text = kept(path, lambda: {"text": mean_states(minilm(), captions)})["text"]
        return CaptionedSounds(
            clips,
            coded,
            captions,
            text,
            batch_size=self.batch_size,
            coded_share=self.coded_share,
            shortest=self.shortest,
            seed=self.loop.seed,
        )

    def export(self, model: nn.Module, folder: Path) -> None:
        assert isinstance(model, Clap)
        parts = {"text_encoder": "minilm"}
        save_folder(model, folder, kind="clap", config=model.config, parts=parts, dtype=torch.int8)


recipe = ClapTiny()
