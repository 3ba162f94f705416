"""`nexus/f5tts-tiny`: F5-TTS on phonemes laid out by their durations, small enough for a CPU.

What moved it: longer training. 4,300 steps: 9.7 % of words misheard, DNSMOS 2.20; 11,000 more from those weights, of
times nearer to the data (`time_logit=[0.2,1.2]`): 5.5 %, 2.33; 11,000 more with `other_voices=2`: of unheard voices
1.5 % (before 6.3 %), likeness 0.74 (0.70). Through a vocoder that knows its frames, sharpened: DNSMOS 2.88.
"""

import copy
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nexus.data.mel_cache import recorded_mels
from nexus.data.speech import other_voices, read_manifest
from nexus.data.speech_batches import SpeechBatches
from nexus.hub.load import load
from nexus.media.audio import Audio
from nexus.media.features import MelConfig
from nexus.media.image import Image
from nexus.media.video import Video
from nexus.models.audio.durations import DurationConfig
from nexus.models.audio.f5tts import F5TTS, F5TTSConfig, InfillingConfig
from nexus.models.audio.f5tts_dit import DiTConfig
from nexus.nn.checkpoint import save_folder
from nexus.nn.modulation import shrink, widen
from nexus.text.phonemes import SYMBOLS
from nexus.training.recipe import Batch, BatchStream, LoopConfig, Networks, Objective, OptimizerConfig, Recipe


@dataclass(frozen=True, kw_only=True)
class F5TTSTiny(Recipe):
    name: str = "f5tts-tiny"
    loop: LoopConfig = LoopConfig(
        steps=5000, precision="fp32", log_every=20, save_every=250, sample_every=1000, validate_every=500
    )
    optimizer: OptimizerConfig = OptimizerConfig(lr=1e-3, betas=(0.9, 0.98), weight_decay=0.01, warmup_steps=200)
    corpus: str = "../shared/data/speech"
    cache: str = "runs/cache/speech"  # mels are computed once into this folder
    other_voices: int = 0  # copies of each utterance to learn from, played faster or slower: voices of nobody
    frames_per_batch: int = 2560
    default_speaker: str = "af_heart"
    dim: int = 256
    n_layers: int = 8
    time_logit: tuple[float, float] = (-0.5, 1.0)  # of the times that are learnt at, mean and deviation
    start: str = ""  # weights of this very shape to learn on from; none starts anew
    sharpening: float = 0.8  # at which made mels have the contrast over frequency of recordings; unsharpened 0.7 of it
    modulation_rank: int = 32  # of the blocks' modulations in the exported weights: 1 % off, a third smaller

    def config(self) -> F5TTSConfig:
        network = DiTConfig(
            n_symbols=len(SYMBOLS),
            dim=self.dim,
            n_layers=self.n_layers,
            n_heads=4,
            text_dim=128,
            text_layers=3,
            dropout=0.0,
            mask_attention=True,
            position_kernel=7,
            patch_size=4,
            predicts="data",
            voice_summary=True,
        )
        return F5TTSConfig(
            network=network,
            mel=MelConfig.vocos(),
            mel_mean=-1.7,
            mel_std=2.4,
            durations=DurationConfig(n_symbols=len(SYMBOLS)),
            infilling=InfillingConfig(
                masked=(0.6, 1.0),
                prefix_only=0.5,
                drop_voice=0.1,
                drop_all=0.1,
                drop_known_text=0.5,
                time_logit=self.time_logit,
            ),
            steps=12,
            guidance_scale=1.0,
            longest_voice=6.0,
            longest_piece=120,
            sharpening=self.sharpening,
        )

    def networks(self) -> dict[str, nn.Module]:
        model = F5TTS(self.config())
        assert model.durations is not None
        if self.start:
            learnt = load(self.start, device="cpu").float()
            if not isinstance(learnt, F5TTS) or learnt.durations is None:
                raise ValueError(f"f5tts-tiny starts from weights of its own kind, and {self.start} is another")
            widen(learnt.network.blocks)
            model.network.load_state_dict(learnt.network.state_dict())
            model.durations.load_state_dict(learnt.durations.state_dict())
        return {"model": model}

    def objectives(self, networks: Networks) -> tuple[Objective, ...]:
        return (Objective("speech", ("model",), _loss, self.optimizer),)

    def dataset(self, split: Literal["train", "valid"]) -> BatchStream:
        utterances, name = read_manifest(self.corpus, split), split
        if split == "train" and self.other_voices:
            aligned = [u for u in utterances if u.durations]
            utterances, name = aligned + other_voices(aligned, self.other_voices), f"{split}-voices-{self.other_voices}"
        return SpeechBatches(
            utterances,
            recorded_mels(self.corpus, name, self.cache, self.config().mel, utterances),
            frames_per_batch=self.frames_per_batch,
            hop_length=self.config().mel.hop_length,
            seed=self.loop.seed,
        )

    def samples(self, model: nn.Module, step: int) -> dict[str, Audio | Image | Video]:
        """A line in the default voice, through the weights as they would be exported now."""
        with tempfile.TemporaryDirectory() as folder:
            self.export(model, Path(folder))
            return {"line": load(folder).generate("Every night I light the lamp, and the ships come home.", seed=0)}

    def default_voice(self, config: F5TTSConfig) -> Tensor:
        """The mel [M, T] of a short utterance of one speaker, which the weights keep for when no voice is given."""
        utterances = read_manifest(self.corpus, "valid")
        mels = recorded_mels(self.corpus, "valid", self.cache, config.mel, utterances)
        spoken = [u for u in utterances if u.speaker == self.default_speaker]
        utterance = min(spoken, key=lambda u: abs(u.num_samples / u.sample_rate - 4))
        n_frames = mels.length(utterance) // config.network.patch_size * config.network.patch_size
        return (torch.from_numpy(mels[utterance][:n_frames].astype("float32")).T - config.mel_mean) / config.mel_std

    @torch.no_grad()
    def told(self, model: F5TTS) -> Tensor:
        """What modulations see of a hundred times, with each voice of a batch and with none."""
        assert model.network.voice_summary is not None
        batch = self.dataset("valid")[0]
        known = torch.arange(batch["mel"].shape[2]) < batch["length"][:, None]
        voices = model.network.voice_summary(model.normalise(batch["mel"]) * known[:, None], known)
        voices = torch.cat([voices, torch.zeros_like(voices[:1])])
        times = model.network.time_embed(torch.linspace(0, 1, 100))
        return F.silu(times[:, None] + voices).flatten(0, 1)

    def export(self, model: nn.Module, folder: Path) -> None:
        assert isinstance(model, F5TTS)
        voice = self.default_voice(model.config)
        network = copy.deepcopy(model.network)
        shrink(network.blocks, self.told(model), self.modulation_rank)
        sizes = replace(network.config, modulation_rank=self.modulation_rank)
        whole = F5TTS(replace(model.config, network=sizes, default_voice_frames=voice.shape[1]))
        state = {name: tensor for name, tensor in model.state_dict().items() if not name.startswith("network.")}
        state |= {f"network.{name}": tensor for name, tensor in network.state_dict().items()}
        whole.load_state_dict(state | {"default_voice": voice})
        parts = {"vocoder": "nexus/f5tts-vocoder-tiny", "front_end": "misaki"}
        save_folder(whole, folder, kind="f5tts", config=whole.config, parts=parts, dtype=torch.float16)


def _loss(networks: Networks, batch: Batch, rng: torch.Generator) -> dict[str, Tensor]:
    model = networks["model"]
    assert isinstance(model, F5TTS)
    return model.loss(batch, rng)


recipe = F5TTSTiny()
