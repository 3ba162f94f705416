"""F5-TTS (arXiv:2410.06885): speech in any voice by infilling a mel spectrogram after a few seconds of that voice.

Official weights (`SWivid/F5-TTS`, CC-BY-NC-4.0) take characters, padded with filler to the length of the speech, and
need the transcript of the voice. Our small weights take phonemes laid out by predicted durations, and need none.

Axes: B batch, M mel bins, T frames, S symbols. Flow time t runs from 0 (noise) to 1 (data).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from nexus.media.audio import Audio
from nexus.media.features import MelConfig, log_mel
from nexus.models.audio.durations import DurationConfig, DurationPredictor
from nexus.models.audio.early import BEYOND, FIRST_STEPS, FIRST_VOICE, LONGEST_FIRST, ends_of_parts, joined
from nexus.models.audio.f5tts_dit import DiT, DiTConfig
from nexus.models.audio.speaking import level, level_factor, prepare_voice, split_text
from nexus.process import flow
from nexus.process.guidance import guided_halves
from nexus.process.noise import generators
from nexus.process.postfilter import sharpen

Progress = Callable[[int, int], None]


@dataclass(frozen=True, kw_only=True)
class InfillingConfig:
    """What is hidden in training, as probabilities and fractions of an utterance."""

    masked: tuple[float, float] = (0.7, 1.0)
    prefix_only: float = 0.0  # how often what is known lies before the masked span only, as in use
    drop_voice: float = 0.3
    drop_all: float = 0.2
    drop_known_text: float = 0.0  # how often the known part comes without its text
    time_logit: tuple[float, float] | None = None  # mean and deviation; None draws t uniformly


@dataclass(frozen=True, kw_only=True)
class F5TTSConfig:
    network: DiTConfig = field(default_factory=DiTConfig)
    mel: MelConfig = field(default_factory=MelConfig.f5)
    mel_mean: float = 0.0  # the network sees (mel - mel_mean) / mel_std
    mel_std: float = 1.0
    durations: DurationConfig | None = None  # given: text is laid out by predicted durations; else padded with filler
    infilling: InfillingConfig = field(default_factory=InfillingConfig)
    steps: int = 32
    guidance_scale: float = 2.0  # velocity + scale * (velocity - null velocity); 0 is no guidance
    longest_voice: float = 12.0  # seconds of a voice that are used
    longest_piece: int = 200  # characters spoken in one go
    default_voice_frames: int = 0  # length of the voice that comes with the weights
    sharpening: float = 0.0  # of made mels (`nexus.process.postfilter`), for a network that blurs them


@dataclass(frozen=True)
class Voice:
    """The known part of the mel [M, T], as the network sees it, and its text: ids of frames, or of characters."""

    mel: Tensor
    text: Tensor
    n_bytes: int = 0  # of its transcript, by which the official rule of durations goes


@dataclass(frozen=True)
class Piece:
    """What is said in one go: text ids after the voice's, and frames in all, the voice's counted."""

    text: Tensor
    n_frames: int


class F5TTS(nn.Module):
    """Velocity field over mels, and what makes speech of it. `vocoder` and `front_end` are attached by `nexus.load`."""

    default_voice: Tensor  # mel [M, T], where the config says that there is one

    def __init__(self, config: F5TTSConfig):
        super().__init__()
        self.config = config
        self.vocoder: Any = None  # decode(mel [B, M, T]) -> waveform [B, 1, L]
        self.front_end: Any = None  # (text, accent) -> ids
        self.network = DiT(config.network)
        self.durations = DurationPredictor(config.durations) if config.durations else None
        if config.default_voice_frames:
            self.register_buffer("default_voice", torch.zeros(config.network.n_mels, config.default_voice_frames))

    def forward(
        self,
        x_t: Float[Tensor, "B M T"],
        t: Float[Tensor, " B"],
        cond: Float[Tensor, "B M T"],
        text: Int[Tensor, "B S"],
        mask: Bool[Tensor, "B T"] | None = None,
    ) -> Float[Tensor, "B M T"]:
        return self.network(x_t, t, cond, text, mask)

    def normalise(self, mel: Tensor) -> Tensor:
        return (mel - self.config.mel_mean) / self.config.mel_std

    def denormalise(self, state: Float[Tensor, "B M T"]) -> Float[Tensor, "B M T"]:
        """Log-mel frames of what the network made."""
        return state * self.config.mel_std + self.config.mel_mean

    def loss(self, batch: dict[str, Tensor], generator: torch.Generator | None = None) -> dict[str, Tensor]:
        """Flow matching on masked spans (section 3.1), and the likelihood of the durations where they are predicted.

        Args:
            batch: mel [B, M, T], length [B] in frames, text [B, T]; with durations also symbols, durations [B, S].
        """
        rng = generator or generators(None, 1)[0]
        hide, device = self.config.infilling, batch["mel"].device
        mel, length = self.normalise(batch["mel"]), batch["length"].cpu()
        n = len(mel)
        frames = torch.arange(mel.shape[-1])
        own = frames < length[:, None]  # [B, T]
        span = masked_spans(length, mel.shape[-1], hide, rng).to(device)
        drop_all = torch.rand(n, generator=rng) < hide.drop_all
        drop_voice = (torch.rand(n, generator=rng) < hide.drop_voice) | drop_all
        drop_known_text = torch.rand(n, generator=rng) < hide.drop_known_text
        t = flow.logit_normal(n, rng, *hide.time_logit) if hide.time_logit else torch.rand(n, generator=rng)
        noise = torch.randn(mel.shape, generator=rng).to(device)

        cond = torch.where(span[:, None], 0, mel) * own[:, None].to(device)
        text = torch.where(drop_known_text[:, None].to(device) & ~span, -1, batch["text"])

        def velocity(x_t: Tensor, t: Tensor) -> Tensor:
            return self.network(x_t, t, cond, text, own.to(device), drop_voice.to(device), drop_all.to(device))

        errors = flow.flow_loss(velocity, mel, noise, t.to(device), span[:, None])
        weights = span.sum(dim=1)
        losses = {"flow": (errors * weights).sum() / weights.sum()}
        if self.durations is not None:
            losses["duration"] = self.durations.loss(batch["symbols"], batch["durations"])
        return {"loss": torch.stack(list(losses.values())).sum(), **losses}

    @torch.inference_mode()
    def generate(
        self,
        prompt: str | list[str],
        *,
        voice: Audio | None = None,
        voice_text: str | None = None,
        accent: str | None = None,
        speed: float | int = 1.0,
        steps: int | None = None,
        guidance_scale: float | int | None = None,
        sway: float | int = -1.0,
        seed: int | None = None,
        progress: Progress | None = None,
    ) -> Audio | list[Audio]:
        """Speaks text, sentence after sentence in one voice.

        Args:
            voice: whom to sound like, at least 1 s, 3 to 6 s are best; by default the voice kept with the weights.
            voice_text: its transcript; our weights do without, official ones need it.
            accent: "us" or "gb", for the front end of our weights.
            speed: 2 is twice as fast.
            guidance_scale: s in v + s (v - v_null), 0 turns guidance off (the other convention's scale minus 1).
            sway: -1 spends more steps near the noise, 0 spaces them evenly.
            progress: called with (steps done, steps in all); an exception raised in it stops the call.

        Raises:
            ValueError: text without words or too long, a voice too short, numbers out of range.
        """
        texts = [prompt] if isinstance(prompt, str) else prompt
        steps, scale = self._checked(speed, steps, guidance_scale, sway)
        known = self._voice(voice, voice_text, accent)
        plans = [list(self._plan(text, known, accent, speed)) for text in texts]
        done, total = count(1), steps * sum(map(len, plans))

        def watched(states: Iterator[Tensor]) -> Iterator[Tensor]:
            for state in states:
                if progress is not None:
                    progress(next(done), total)
                yield state

        spoken = []
        for plan, rng in zip(plans, generators(seed, len(plans)), strict=True):
            mels = [flow.last(watched(self._states(piece, known, rng, steps, scale, sway))) for piece in plan]
            spoken.append(Audio.concatenate([self._sound(mel, known) for mel in mels]))
        return spoken[0] if isinstance(prompt, str) else spoken

    @torch.inference_mode()
    def stream(
        self,
        prompt: str,
        *,
        voice: Audio | None = None,
        voice_text: str | None = None,
        accent: str | None = None,
        speed: float | int = 1.0,
        steps: int | None = None,
        guidance_scale: float | int | None = None,
        sway: float | int = -1.0,
        seed: int | None = None,
    ) -> Iterator[Audio]:
        """What `generate` says with the same seed, a sentence at a time, the first in parts that sound at once.

        Sentences that are not cut are the very sounds of `generate`. The first part, or a short first sentence, is made
        in few steps, and each part is short enough to be made while those before it sound; so are parts of the next
        sentences where the first was short. Weights without predicted durations cut no sentence.
        """
        steps, scale = self._checked(speed, steps, guidance_scale, sway)
        known = self._voice(voice, voice_text, accent)
        rng, heard = generators(seed, 1)[0], 0.0
        for piece in self._plan(prompt, known, accent, speed):
            for sound in self._parts(piece, known, rng, heard, steps, scale, sway):
                heard += sound.seconds
                yield sound

    def sample(
        self,
        noise: Float[Tensor, "B M T"],
        cond: Float[Tensor, "B M T"],
        text: Int[Tensor, "B S"],
        mask: Bool[Tensor, "B T"] | None = None,
        *,
        steps: int,
        guidance_scale: float | int,
        sway: float | int = -1.0,
        first: int = 0,
    ) -> Iterator[Tensor]:
        """Mels from noise, Euler step by Euler step; `cond` is zero where it is to be generated.

        Steps before `first` are left out: `noise` is then what lies on the path at the time of that step.
        """
        n, dtype = len(noise), self.network.proj_in.weight.dtype
        halves = 1 if guidance_scale == 0 else 2
        cond, text = torch.cat([cond] * halves).to(dtype), torch.cat([text] * halves)
        mask = None if mask is None else torch.cat([mask] * halves)
        drop = torch.arange(halves * n, device=noise.device) >= n
        given = self.network.conditions(cond, text, mask, drop, drop)

        def velocity(x_t: Tensor, t: Tensor) -> Tensor:
            return self.network.velocity(x_t.to(dtype), t.to(dtype), given).to(x_t.dtype)

        field = velocity if halves == 1 else guided_halves(velocity, 1 + guidance_scale)
        yield from flow.euler(field, noise, flow.sway(flow.uniform_times(steps), sway)[first:])

    def _checked(
        self, speed: float | int, steps: int | None, guidance_scale: float | int | None, sway: float | int
    ) -> tuple[int, float | int]:
        if self.vocoder is None or self.front_end is None:
            raise ValueError("this F5TTS has no vocoder or front end; nexus.load attaches them")
        steps = self.config.steps if steps is None else steps
        guidance_scale = self.config.guidance_scale if guidance_scale is None else guidance_scale
        if not 0.3 <= speed <= 3:
            raise ValueError(f"speed must be in 0.3..3, got {speed:g}")
        if not 1 <= steps <= 1000:
            raise ValueError(f"steps must be in 1..1000, got {steps}")
        if not 0 <= guidance_scale <= 20:
            raise ValueError(f"guidance_scale must be in 0..20, got {guidance_scale:g}")
        flow.sway(torch.zeros(1), sway)
        return steps, guidance_scale

    @property
    def _device(self) -> torch.device:
        return self.network.proj_in.weight.device

    def _ids(self, text: str, accent: str | None) -> Tensor:
        ids = self.front_end(text) if accent is None else self.front_end(text, accent)
        return torch.tensor(ids, device=self._device)

    def _voice(self, voice: Audio | None, voice_text: str | None, accent: str | None) -> Voice:
        """The voice as mel; without one, the one kept with the weights."""
        nothing = torch.zeros(0, dtype=torch.long, device=self._device)
        if voice is None:
            if voice_text is not None:
                raise ValueError("voice_text is the transcript of voice; give both or leave it out")
            if not self.config.default_voice_frames:
                raise ValueError("these weights keep no voice of their own; give voice=, 3 to 6 s of someone speaking")
            mel = self.default_voice.float()
            return Voice(mel, nothing.new_full(mel.shape[1:], -1))
        if voice_text is None and self.durations is None:
            raise ValueError("these weights need the transcript of the voice; give voice_text=")
        if voice_text is not None and voice.seconds > self.config.longest_voice:
            raise ValueError(
                f"a voice with its transcript may last {self.config.longest_voice:g} s, got {voice.seconds:.1f} s; "
                "cut both, or leave the transcript out where the weights do without"
            )
        ready = prepare_voice(voice, self.config.mel.sample_rate, self.config.longest_voice)
        mel = self.normalise(log_mel(ready.tensor(), self.config.mel)[0]).to(self._device)
        mel = mel[:, : mel.shape[1] // self.config.network.patch_size * self.config.network.patch_size]
        if voice_text is None:
            return Voice(mel, nothing.new_full(mel.shape[1:], -1))
        if self.durations is None:
            return Voice(mel, self._ids(voice_text.strip() + " ", None), len(voice_text.strip().encode()) + 1)
        return Voice(mel, self._laid_out(self._ids(voice_text, accent), 1.0, mel.shape[1]))

    def _plan(self, text: str, voice: Voice, accent: str | None, speed: float | int) -> Iterator[Piece]:
        """One after another: of a page the first sentence need not wait until the last is read."""
        sentences = split_text(text, self.config.longest_piece)
        self.front_end.check(text, accent)
        for sentence in sentences:
            known = voice.mel.shape[1]
            ids = self._ids(sentence, accent)
            if self.durations is None:
                n_frames = known + int(known / voice.n_bytes * len(sentence.encode()) / speed)
                n_frames = max(n_frames, len(voice.text) + len(ids) + 1)
            else:
                ids = self._laid_out(ids, speed)
                n_frames = known + len(ids)
            yield Piece(torch.cat([voice.text, ids]), n_frames)

    def _laid_out(
        self, symbols: Int[Tensor, " S"], speed: float | int, n_frames: int | None = None
    ) -> Int[Tensor, " T"]:
        """The symbol that sounds in each frame, by predicted durations, scaled where the number of frames is given."""
        assert self.durations is not None
        ends = (self.durations.seconds(symbols[None])[0] / speed).cumsum(0)
        frame_rate = self.config.mel.sample_rate / self.config.mel.hop_length
        if n_frames is None:
            n_frames = int((ends[-1] * frame_rate).ceil())
        else:
            ends = ends * (n_frames / frame_rate / ends[-1])
        frames = torch.arange(n_frames, device=symbols.device) / frame_rate
        return symbols[torch.searchsorted(ends, frames, right=True).clamp(max=len(symbols) - 1)]

    def _noise(self, piece: Piece, rng: torch.Generator) -> Float[Tensor, "1 M T"]:
        return torch.randn(1, self.config.network.n_mels, piece.n_frames, generator=rng).to(self._device)

    def _states(
        self,
        piece: Piece,
        voice: Voice,
        rng: torch.Generator,
        steps: int,
        guidance_scale: float | int,
        sway: float | int,
    ) -> Iterator[Tensor]:
        cond = nn.functional.pad(voice.mel[None], (0, piece.n_frames - voice.mel.shape[1]))
        settings: dict[str, Any] = {"steps": steps, "guidance_scale": guidance_scale, "sway": sway}
        yield from self.sample(self._noise(piece, rng), cond, piece.text[None], **settings)

    def _parts(
        self,
        piece: Piece,
        voice: Voice,
        rng: torch.Generator,
        heard: float,
        steps: int,
        guidance_scale: float | int,
        sway: float | int,
    ) -> Iterator[Audio]:
        """The sounds of a sentence, one after another: each part is infilled after the voice and the parts before."""
        config, first, n = self.config.mel, voice.mel.shape[1], piece.n_frames
        rate = config.sample_rate / config.hop_length
        breaks = () if self.durations is None else self.front_end.breaks
        ends = ends_of_parts(piece.text[first:].tolist(), breaks, rate, heard) if breaks else [n - first]
        short = bool(breaks) and not heard and (n - first) / rate <= LONGEST_FIRST
        if len(ends) == 1 and not short:
            yield self._sound(flow.last(self._states(piece, voice, rng, steps, guidance_scale, sway)), voice)
            return
        noise, mel, before, start = self._noise(piece, rng), voice.mel[None], None, 0
        fade, gain = config.sample_rate // 200, 1.0
        for end in ends:
            upto = min(first + end + round(BEYOND * rate), n)
            opening = not heard and not start
            skipped = max(0, first - round(FIRST_VOICE * rate)) if opening else 0
            few = min(steps, FIRST_STEPS) if opening else steps
            settings: dict[str, Any] = {"steps": few, "guidance_scale": guidance_scale, "sway": sway}
            cond = nn.functional.pad(mel, (0, upto - mel.shape[2]))[..., skipped:]
            text = piece.text[None, skipped:upto]
            state = flow.last(self.sample(noise[..., skipped:upto], cond, text, **settings))
            state = nn.functional.pad(state, (skipped, 0))
            mel = torch.cat([mel, state[..., mel.shape[2] : first + end]], dim=2)
            after = self._waveform(torch.cat([mel, state[..., first + end :]], dim=2), voice)
            stop = after.length if end == ends[-1] else end * config.hop_length
            last_gain, gain = gain, level_factor(after.cut(0, stop))
            gains = (gain if before is None else last_gain, gain)
            sound = joined(after if before is None else before, after, start, stop, gains)
            yield sound.fade(0 if start else fade, fade if end == ends[-1] else 0)
            before, start = after, stop

    def _waveform(self, state: Tensor, voice: Voice) -> Audio:
        mel = sharpen(self.denormalise(state[..., voice.mel.shape[1] :]), self.config.sharpening)
        waveform = self.vocoder.decode(mel.to(next(self.vocoder.parameters()).dtype))[0, 0]
        return Audio(waveform, self.config.mel.sample_rate)

    def _sound(self, state: Tensor, voice: Voice) -> Audio:
        fade = self.config.mel.sample_rate // 200
        return level(self._waveform(state, voice)).fade(fade, fade)


def masked_spans(
    length: Int[Tensor, " B"], n_frames: int, config: InfillingConfig, rng: torch.Generator
) -> Bool[Tensor, "B T"]:
    """One contiguous span of frames to generate in each item, True inside."""
    low, high = config.masked
    masked = ((low + (high - low) * torch.rand(len(length), generator=rng)) * length).long().clamp(min=1)
    place = torch.rand(len(length), generator=rng)
    at_end = torch.rand(len(length), generator=rng) < config.prefix_only
    start = torch.where(at_end, length - masked, (place * (length - masked + 1)).long())
    frames = torch.arange(n_frames)
    return (frames >= start[:, None]) & (frames < (start + masked)[:, None])
