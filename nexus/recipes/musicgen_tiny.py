"""`nexus/musicgen-tiny`: MusicGen's melody variant over `nexus/encodec-tiny`, on the rule-based composer's pieces.

Beat, bar, key and pitches are told at every frame (`nexus.models.audio.musicgen_controls`), since words alone were
followed in tempo and key by a quarter of what it played.
"""

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from nexus.data import music, sound
from nexus.data.clips import CachedClips
from nexus.data.tokens import TokenBatches, encode_captions, encode_clips, kept, melodies_of, score_table
from nexus.hub.load import load
from nexus.hub.source import find
from nexus.hub.tensors import load_strict, read_tensors
from nexus.media.audio import Audio
from nexus.media.image import Image
from nexus.media.video import Video
from nexus.models.audio.musicgen import MelodyConfig, MusicGen, MusicGenConfig
from nexus.models.audio.musicgen_controls import HOP_LENGTH
from nexus.models.audio.musicgen_decoder import Decoder
from nexus.nn.checkpoint import save_folder
from nexus.text.encoders import minilm
from nexus.training.batches import Mixed
from nexus.training.recipe import Batch, BatchStream, LoopConfig, Networks, Objective, OptimizerConfig, Recipe

SAMPLE_RATE = 24000
WORLDS = {"music": music.cache_clips, "sound": sound.cache_clips}


def codec_hash(name: str) -> str:
    """SHA-256 over what makes codes, all but the decoder, so that a better decoder leaves the kept codes valid."""
    digest = hashlib.sha256()
    for key, tensor in sorted(read_tensors(find(name)).items()):
        if not key.startswith("decoder."):
            digest.update(key.encode() + tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


def codebooks(name: str) -> Float[Tensor, "K V W"]:
    """The codec's vectors: codes near in sound are near in them."""
    state = read_tensors(find(name))
    return torch.stack([state[key].float() for key in sorted(state) if re.fullmatch(r"quantizer.*\.vectors", key)])


@torch.no_grad()
def start_from_vectors(decoder: Decoder, vectors: Float[Tensor, "K V W"]) -> None:
    """Embeddings and heads begin as random projections of the codec's vectors, so near codes begin alike."""
    heads = decoder.head.weight.unflatten(0, (len(vectors), -1))
    for embed, head, table in zip(decoder.embed, heads, vectors, strict=True):
        assert isinstance(embed, nn.Embedding)
        table = (table - table.mean(0)) @ torch.randn(table.shape[1], decoder.config.dim)
        table = table / table.square().mean().sqrt()
        embed.weight[: len(table)].copy_(0.3 * table)  # four are summed, beside sinusoids of size 0.7
        head.copy_(0.02 * table)


@dataclass(frozen=True, kw_only=True)
class TokenRecipe(Recipe):
    """A transformer over the codes of one world's clips; codes and text states are computed once into `cache`."""

    world: Literal["music", "sound"] = "music"
    optimizer: OptimizerConfig = OptimizerConfig(lr=1.5e-3, betas=(0.9, 0.95), weight_decay=0.05, warmup_steps=100)
    codec: str = "nexus/encodec-tiny"
    codec_hop: int = 512  # samples a frame, at 24 kHz
    cache: str = "runs/cache"
    n_clips: int = 4000
    n_valid: int = 60
    clip_seconds: float = 12.0
    n_captions: int = 4  # of each clip, one drawn for a crop
    crop_lengths: tuple[int, ...] = (235, 235, 470)  # frames, one drawn for a batch
    n_starts: int = 8000  # more clips, of `start_seconds` only
    start_seconds: float = 2.1
    start_frames: int = 94
    start_share: float = 0.3  # of the batches
    frames_per_batch: int = 1880
    dim: int = 256
    n_layers: int = 6
    n_heads: int = 4
    with_melody: bool = True
    start: str = ""  # weights to go on from, such as nexus/musicgen-tiny; empty: random ones
    own_share: float = 1.0  # most codes of an item that the model reads as it would have drawn them; 0 is none
    with_controls: bool = True  # of beat, key and pitch, where clips have a score
    guidance_scale: float = 3.0  # at generation unless told otherwise
    temperature: float = 0.75
    candidates: int = 1  # made of each prompt; of several the ranker chooses
    ranker: str = "nexus/clap-tiny"
    export_in_8_bits: bool = False  # the weights are stored so, `nexus.nn.rows8`; else in half precision

    def config(self) -> MusicGenConfig:
        heard = MelodyConfig(sample_rate=SAMPLE_RATE, n_fft=16384, hop_length=8192, length=30)
        return MusicGenConfig(
            dim=self.dim,
            n_layers=self.n_layers,
            n_heads=self.n_heads,
            ffn_dim=4 * self.dim,
            codebook_size=1024,
            text_dim=384,
            melody=heard if self.with_melody else None,
            max_duration=max(self.crop_lengths) * self.codec_hop / SAMPLE_RATE,
            condition_dropout=0.1,
            melody_dropout=0.6,
            guidance_scale=self.guidance_scale,
            temperature=self.temperature,
            candidates=self.candidates,
            controls=self.with_controls,
        )

    def networks(self) -> dict[str, nn.Module]:
        model = MusicGen(self.config())
        for name, weight in model.named_parameters():
            if weight.ndim == 2 and not name.startswith("controls."):
                nn.init.normal_(weight, std=0.3 if "embed" in name else 0.02)
        start_from_vectors(model.decoder, codebooks(self.codec))
        if self.start:
            fresh = {name: tensor for name, tensor in model.state_dict().items() if name.startswith("controls.")}
            load_strict(model, fresh | read_tensors(find(self.start)), self.start)
        return {"model": model}

    def objectives(self, networks: Networks) -> tuple[Objective, ...]:
        return (Objective("tokens", tuple(networks), self.loss, self.optimizer),)

    def loss(self, networks: Networks, batch: Batch, rng: torch.Generator) -> dict[str, Tensor]:
        model = networks["model"]
        assert isinstance(model, MusicGen)
        return model.loss(batch, rng, self.own_share if model.training else 0.0)

    def clips(self, split: Literal["train", "valid"]) -> CachedClips:
        folder = Path(self.cache) / self.world / split
        WORLDS[self.world](folder, self.n_clips if split == "train" else self.n_valid, self.clip_seconds, split)
        return CachedClips(folder)

    def starts(self) -> CachedClips:
        """Other clips than those of `clips`."""
        folder = Path(self.cache) / self.world / "starts-train"
        WORLDS[self.world](folder, self.n_starts, self.start_seconds, "train", seed=1)
        return CachedClips(folder)

    def dataset(self, split: Literal["train", "valid"]) -> BatchStream:
        """Crops; in training mixed with beginnings of many more clips.

        Within a clip, what was heard so far says more about the tempo and the key than the caption does. Only in the
        first seconds are they to be had from the caption alone.
        """
        clips = self.batches(self.clips(split), f"{self.world}-{split}", self.crop_lengths)
        if split == "valid" or not self.n_starts:
            return clips
        starts = self.batches(self.starts(), f"{self.world}-starts-train", (self.start_frames,))
        return Mixed(starts, clips, self.start_share, self.loop.seed)

    def batches(self, clips: CachedClips, name: str, crop_lengths: tuple[int, ...]) -> TokenBatches:
        folder, config = Path(self.cache) / "tokens" / name, self.config()
        text = kept(
            folder / f"text-{self.n_captions}.safetensors", lambda: encode_captions(minilm(), clips, self.n_captions)
        )
        melodies, frames_per_chroma = None, 1.0
        if (melody := config.melody) is not None:
            stacked = kept(
                folder / f"melody-{melody.hop_length}.safetensors",
                lambda: {"melody": melodies_of(clips, melody)},
            )
            melodies, frames_per_chroma = stacked["melody"], melody.hop_length / self.codec_hop
        score = None
        if self.with_controls:
            rate = SAMPLE_RATE / self.codec_hop
            score = kept(folder / "score.safetensors", lambda: score_table(clips, rate, SAMPLE_RATE))
        path = folder / f"codes-{codec_hash(self.codec)}.safetensors"
        codes = kept(path, lambda: encode_clips(load(self.codec), clips))
        return TokenBatches(
            codes=codes["codes"],
            text=text["text"],
            lengths=text["lengths"],
            melodies=melodies,
            frames_per_chroma=frames_per_chroma,
            score=score,
            frames_per_pitch=HOP_LENGTH / self.codec_hop,
            crop_lengths=crop_lengths,
            frames_per_batch=self.frames_per_batch,
            seed=self.loop.seed,
        )

    def samples(self, model: nn.Module, step: int) -> dict[str, Audio | Image | Video]:
        assert isinstance(model, MusicGen)
        model.codec, model.text_encoder = load(self.codec), minilm()
        prompts = [self.clips("valid")[i].caption for i in range(2)]
        heard = model.generate(prompts, duration=model.config.max_duration, seed=0, candidates=1)
        del model.codec, model.text_encoder
        return {
            f"{i}-{prompt[:40].replace('/', ' ')}": audio
            for i, (prompt, audio) in enumerate(zip(prompts, heard, strict=True))
        }

    def export(self, model: nn.Module, folder: Path) -> None:
        assert isinstance(model, MusicGen)
        parts = {"codec": self.codec, "text_encoder": "minilm"}
        if self.candidates > 1:
            parts["ranker"] = self.ranker
        dtype = torch.int8 if self.export_in_8_bits else torch.float16
        save_folder(model, folder, kind="musicgen", config=model.config, parts=parts, dtype=dtype)


recipe = TokenRecipe(
    name="musicgen-tiny",
    loop=LoopConfig(steps=10750, precision="auto", ema_decay=0.998, save_every=250, sample_every=0, validate_every=250),
)
