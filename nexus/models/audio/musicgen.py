"""MusicGen (arXiv:2306.05284): music for a prompt, following a melody where asked, as codes of EnCodec.

Official weights are CC-BY-NC-4.0; our own tiny ones Apache-2.0. The network is in `musicgen_decoder.py`.
Axes: B batch, K codebooks, T frames, R text positions, W text width, S condition positions, V codebook entries,
D width, M chroma frames; G is B, or 2 B under guidance.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from typing import Any, overload

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn
from torch.nn import functional as F

from nexus.media.audio import Audio
from nexus.media.features import chroma_one_hot
from nexus.models.audio.musicgen_controls import (
    HOP_LENGTH,
    Controls,
    features,
    features_of,
    pitches_of,
    pitches_of_chords,
)
from nexus.models.audio.musicgen_decoder import Decoder, MelodyConfig, MusicGenConfig
from nexus.process import patterns
from nexus.process.autoregressive import cross_entropy, decode
from nexus.process.candidates import check_candidates, nearest, repeated
from nexus.process.guidance import extrapolate
from nexus.process.noise import candidate_seeds, generators
from nexus.process.sampling import Sampling, sample
from nexus.text.chords import CADENCES, cadence
from nexus.text.music_prompts import Score, score_of

__all__ = ["MelodyConfig", "MusicGen", "MusicGenConfig"]

Progress = Callable[[int, int], None]
Number = float | int
Conditions = tuple[Float[Tensor, "G S D"], Bool[Tensor, "G S"], Float[Tensor, "G T D"] | None]

Followed = tuple[Float[Tensor, "B 12 M"] | None, Float[Tensor, "B 12 P"] | None]  # one-hot; of controls

LONGEST = 600.0  # seconds


class MusicGen(nn.Module):
    """The language model with its codec and text encoder, which are attached after building.

    Deviation: in a batch, the melody variant masks the padding of shorter prompts and counts positions without it, so
    that each item equals the item alone; the references let it attend to the padding.
    """

    codec: Any  # encode, decode, streaming; sample_rate, frame_rate, n_codebooks
    text_encoder: Callable[[list[str]], tuple[Tensor, Tensor]]  # states [B, S, D] and mask [B, S]

    def __init__(self, config: MusicGenConfig):
        super().__init__()
        self.config = config
        self.decoder = Decoder(config)
        self.text_proj = nn.Linear(config.text_dim, config.dim)
        if config.melody is not None:
            self.melody_proj = nn.Linear(12, config.dim)
        if config.controls:
            self.controls = Controls(config.dim)
        self.ranker: Any = None  # with `similarity(sounds, prompts)` [B] it may choose among candidates

    def condition(
        self,
        text: Float[Tensor, "B R W"],
        text_mask: Bool[Tensor, "B R"],
        chroma: Float[Tensor, "B 12 M"] | None = None,
        kept: Bool[Tensor, " B"] | None = None,
    ) -> tuple[Float[Tensor, "B S D"], Bool[Tensor, "B S"]]:
        """Projects conditions to the decoder's width; no chroma is the null melody, not `kept` is nothing at all."""
        kept = text_mask.new_ones(len(text)) if kept is None else kept
        states = self.text_proj(text.to(self.text_proj.weight.dtype)) * (text_mask & kept[:, None])[..., None]
        melody = self.config.melody
        if melody is None:
            return states, text_mask
        null = F.one_hot(torch.zeros(1, 1, dtype=torch.int64, device=text.device), 12).mT.to(text.dtype)  # all C
        chroma = null.expand(len(text), -1, -1) if chroma is None else torch.where(kept[:, None, None], chroma, null)
        chroma = chroma.repeat(1, 1, math.ceil(melody.length / chroma.shape[2]))[..., : melody.length]
        heard = self.melody_proj(chroma.mT.to(states.dtype))
        mask = torch.cat([text_mask.new_ones(heard.shape[:2]), text_mask], dim=1)
        return torch.cat([heard, states], dim=1), mask

    def forward(
        self,
        tokens: Int64[Tensor, "B K T"],
        text: Float[Tensor, "B R W"],
        text_mask: Bool[Tensor, "B R"],
        chroma: Float[Tensor, "B 12 M"] | None = None,
        controls: Float[Tensor, "B T F"] | None = None,
    ) -> Float[Tensor, "B K T V"]:
        """Logits of the step after each column of a sequence that is written along the pattern."""
        added = None if controls is None else self.controls(controls)
        return self.decoder(tokens, *self.condition(text, text_mask, chroma), None, added)

    def loss(
        self,
        batch: dict[str, Tensor],
        rng: torch.Generator | None = None,
        own_share: float = 0.0,
    ) -> dict[str, Tensor]:
        """Mean cross-entropy over the codebooks, conditions dropped at random.

        Args:
            batch: codes [B, K, T], text [B, R, W], text_mask [B, R]; for melodies chroma [B, 12, M], whose frames are
                all zero in items without a melody; for controls what `musicgen_controls.features` takes.
            own_share: most codes of an item that are read as the model itself would have drawn them, see `_with_own`.
        """
        config, codes, chroma = self.config, batch["codes"], batch.get("chroma")
        layout = patterns.delay(codes.shape[2], config.delays)
        sequence = patterns.apply(codes, layout, config.special)
        mask = patterns.valid(layout)[:, 1:].to(codes.device).expand(len(codes), -1, -1)
        draw = torch.rand(2, len(codes), generator=rng).to(codes.device)
        kept = draw[0] >= config.condition_dropout
        heard = kept & (draw[1] >= config.melody_dropout)
        if chroma is not None:
            chroma = torch.where(heard[:, None, None], chroma, F.one_hot(chroma.new_zeros(1, 1).long(), 12).mT)
        history = sequence[:, :, :-1]
        added = self._added(batch, history.shape[2], kept, heard, rng) if config.controls else None
        conditions = (*self.condition(batch["text"], batch["text_mask"], chroma, kept), added)
        if own_share:
            history = self._with_own(history, mask[:, :, :-1], conditions, own_share, rng)
        hidden = self.decoder.hidden(history, *conditions[:2], None, added)
        losses = cross_entropy(self.decoder.logits(hidden), sequence[:, :, 1:], mask)
        figures = {f"codebook_{k}": loss.detach() for k, loss in enumerate(losses)}
        return {"loss": losses.mean(), **figures}

    def _added(
        self,
        batch: dict[str, Tensor],
        n_steps: int,
        kept: Bool[Tensor, " B"],
        heard: Bool[Tensor, " B"],
        rng: torch.Generator | None,
    ) -> Float[Tensor, "B n D"]:
        """What the controls add to each step of a batch; each is dropped at random, so that any may be left out."""
        codes, rate = batch["codes"], batch["beats_per_frame"]
        draw = torch.rand(3, len(codes), generator=rng).to(codes.device)
        tempo, bar, key = kept & (draw >= self.config.control_dropout)
        frames = torch.arange(n_steps, device=codes.device)
        pitches = F.pad(batch["pitches"].float(), (0, n_steps - codes.shape[2]), mode="replicate")
        return self.controls(
            features(
                beats=batch["first_beat"][:, None] + frames * rate[:, None],
                beats_per_frame=rate * tempo,
                beats_per_bar=batch["beats_per_bar"] * bar,
                key=torch.where(key, batch["key"], -1),
                pitches=pitches * heard[:, None, None],
            )
        )

    @torch.no_grad()
    def _with_own(
        self,
        history: Int64[Tensor, "B K T"],
        mask: Bool[Tensor, "B K U"],
        conditions: Conditions,
        most: float,
        rng: torch.Generator | None,
    ) -> Int64[Tensor, "B K T"]:
        """Scheduled sampling in parallel (arXiv:1906.04331): some codes as drawn from the model's own predictions.

        Read back what it draws, a model learns to go on from its errors: a note that comes a little early is no proof
        that the beat is there. The share is even from 0 to `most`, item by item.
        """
        states, text_mask, added = conditions
        added = None if added is None else added[:, :-1]
        logits = self.decoder(history[:, :, :-1], states, text_mask, None, added).float()
        u = torch.rand(logits.shape[:-1], generator=rng).to(logits.device)[..., None]
        own = (logits.softmax(-1).cumsum(-1) < u).sum(-1).clamp(max=logits.shape[-1] - 1)
        share = most * torch.rand(len(history), 1, 1, generator=rng)
        drawn = torch.rand(len(history), 1, own.shape[2], generator=rng) < share
        own = torch.where(drawn.to(mask.device) & mask, own, history[:, :, 1:])
        return torch.cat([history[:, :, :1], own], dim=2)

    @overload
    def generate(self, prompt: str, **settings: Any) -> Audio: ...
    @overload
    def generate(self, prompt: list[str], **settings: Any) -> list[Audio]: ...
    def generate(
        self,
        prompt: str | list[str],
        *,
        candidates: int | None = None,
        seed: int | Sequence[int] | None = None,
        **settings: Any,
    ) -> Audio | list[Audio]:
        """Music for a prompt, or one for each of a list.

        Args:
            candidates: how many are made of each, in one batch; the one that the `ranker` finds nearest to the prompt
                is kept. The first is what `stream` gives. By default the config's.
            settings: those of `stream`, without `chunk`.

        Raises:
            ValueError: as `stream`; candidates that can't be, or several without a ranker.
        """
        n = self.config.candidates if candidates is None else candidates
        check_candidates(n, self.ranker, "nexus/clap-tiny")
        prompts = [prompt] if isinstance(prompt, str) else list(prompt)
        seeds = candidate_seeds(seed, len(prompts), n)
        made = next(self.stream(repeated(prompts, n), chunk=None, seed=seeds, **settings))
        kept = nearest(made, prompts, n, self.ranker)
        return kept[0] if isinstance(prompt, str) else kept

    def stream(
        self,
        prompt: str | list[str],
        *,
        duration: Number | None = None,
        melody: Audio | None = None,
        continue_from: Audio | None = None,
        guidance_scale: Number | None = None,
        temperature: Number | None = None,
        top_k: int = 250,
        top_p: Number = 0.0,
        bpm: Number | None = None,
        key: str | None = None,
        beats_per_bar: int | None = None,
        chords: str | None = None,
        seed: int | Sequence[int] | None = None,
        progress: Progress | None = None,
        chunk: Number | None = 1.0,
    ) -> Iterator[Any]:
        """Yields pieces of about `chunk` seconds (None: one piece) as soon as they exist; lists of pieces for a list.

        Args:
            duration: seconds, those of `continue_from` counted in; by default 10, or `max_duration` where shorter. What
                is longer than that is made window by window, each beginning with the later half of the one before.
            melody: its pitches are followed, again from the start where it ends early; for melody models only.
            continue_from: sound to begin with; it is part of the result as the codec hears it.
            guidance_scale: 1 is none; other values cost twice as much. By default the config's.
            temperature: 0 always takes the likeliest code. By default the config's.
            bpm: beats a minute, 30 to 300, for models with controls; by default what the prompt says ("90 bpm").
            key: such as "A minor", likewise.
            beats_per_bar: 2 to 7, likewise ("3/4"). Beats are counted from the beginning.
            chords: such as "Am F C G", likewise for models with controls, one a bar and round again, in place of a
                melody. By default, where a key is known and no melody, a cadence in it that the seed chooses.
            seed: item i of a list draws from `seed + i`, or from its own of a list of seeds.
            progress: called with (frames done, frames in all).

        Raises:
            ValueError: at once, before any work: an empty or too long prompt, a setting out of range.
        """
        prompts = [prompt] if isinstance(prompt, str) else list(prompt)
        duration = min(10.0, self.config.max_duration) if duration is None else duration
        guidance_scale = self.config.guidance_scale if guidance_scale is None else guidance_scale
        temperature = self.config.temperature if temperature is None else temperature
        self._check(prompts, duration, guidance_scale, chunk)
        rngs = generators(seed, len(prompts))
        told = {"bpm": bpm, "key": key, "beats_per_bar": beats_per_bar, "chords": chords}
        scores = self._scores(prompts, told, melody, rngs)
        sampling = Sampling(temperature=temperature, top_k=top_k, top_p=top_p)
        length = max(1, round(duration * self.codec.sample_rate))
        n_frames = math.ceil(length * self.codec.frame_rate / self.codec.sample_rate - 1e-6)
        chunk_frames = n_frames if chunk is None else max(1, round(chunk * self.codec.frame_rate))
        given = self._continued(continue_from, len(prompts), n_frames)
        followed = self._melody(melody, len(prompts)) if melody is not None else self._harmony(scores, duration)
        conditions = self._conditions(prompts, followed, scores, guidance_scale)
        frames = self._frames(conditions, given, n_frames, guidance_scale, sampling, rngs)
        pieces = self._sound(frames, given, length, n_frames, chunk_frames, progress)
        return (piece[0] if isinstance(prompt, str) else piece for piece in pieces)

    def _check(self, prompts: list[str], duration: Number, guidance_scale: Number, chunk: Number | None) -> None:
        if not prompts or not all(prompt.strip() for prompt in prompts):
            raise ValueError("the prompt is empty; say what to play, such as 'calm piano, 70 bpm, C major'")
        if not 0 < duration <= LONGEST:
            raise ValueError(f"duration must be over 0 and at most {LONGEST:g} s, got {duration:g}")
        if not 0 <= guidance_scale <= 100:
            raise ValueError(f"guidance_scale must be 0 to 100 (1 is none, 3 is usual), got {guidance_scale:g}")
        if chunk is not None and not chunk > 0:
            raise ValueError(f"chunk must be over 0 s, got {chunk:g}")
        for prompt in prompts:
            getattr(self.text_encoder, "check", str)(prompt)

    @torch.inference_mode()
    def _continued(self, audio: Audio | None, batch: int, n_frames: int) -> Int64[Tensor, "B K P"]:
        """The codes to begin with, possibly none."""
        device, n_codebooks = self.text_proj.weight.device, self.config.n_codebooks
        if audio is None:
            return torch.empty(batch, n_codebooks, 0, dtype=torch.int64, device=device)
        sides = n_codebooks // self.codec.n_codebooks
        sound = audio.resample(self.codec.sample_rate).mono()
        if sides == 2 and audio.channels > 1:
            sound = audio.resample(self.codec.sample_rate).to_channels(2)
        waveform = torch.tensor(sound.samples, device=device)[:, None]  # [sides, 1, L]
        codes = self.codec.encode(waveform, n_codebooks=n_codebooks // sides)
        codes = codes.expand(sides, -1, -1).permute(1, 0, 2).flatten(0, 1)  # left and right in turn
        if codes.shape[1] >= n_frames:
            asked = n_frames / self.codec.frame_rate
            raise ValueError(f"continue_from lasts {audio.seconds:g} s; duration must be longer, got {asked:g} s")
        return codes.expand(batch, -1, -1)

    def _scores(
        self, prompts: list[str], told: dict[str, Any], melody: Audio | None, rngs: list[torch.Generator]
    ) -> list[Score]:
        """What the controls are told of each prompt."""
        given = [name for name, value in told.items() if value is not None]
        if given and not self.config.controls:
            raise ValueError(
                f"this model has no control of {', '.join(given)}; say it in the prompt, or load nexus/musicgen-tiny"
            )
        if melody is not None and told["chords"] is not None:
            raise ValueError("a melody and chords are both followed by their pitches; give one of them")
        scores = [score_of(prompt, **told) for prompt in prompts]
        if melody is not None or not self.config.controls:
            return scores
        return [
            replace(score, chords=cadence(score.key, int(torch.randint(len(CADENCES), (), generator=rng))))
            if score.key is not None and score.chords is None
            else score
            for score, rng in zip(scores, rngs, strict=True)
        ]

    def _melody(self, melody: Audio, batch: int) -> Followed:
        config = self.config.melody
        if config is None:
            raise ValueError("this model takes no melody; load a melody variant, such as facebook/musicgen-melody")
        if melody.length == 0:
            raise ValueError("the melody is empty; give at least one sample")
        sound = torch.tensor(melody.mono().resample(config.sample_rate).samples, device=self.text_proj.weight.device)
        chroma = chroma_one_hot(sound, config.sample_rate, config.n_fft, config.hop_length).expand(batch, -1, -1)
        if not self.config.controls:
            return chroma, None
        return chroma, pitches_of(sound, config.sample_rate).expand(batch, -1, -1)

    def _harmony(self, scores: list[Score], duration: Number) -> Followed:
        """Of the scores that have chords; the others have no melody, all C and silent."""
        config = self.config.melody
        if config is None or all(score.chords is None for score in scores):
            return None, None

        def sounding(hop_length: int) -> Float[Tensor, "B 12 P"]:
            times = torch.arange(math.ceil(duration * config.sample_rate / hop_length) + 1)
            times = times * hop_length / config.sample_rate
            silent = torch.zeros(12, len(times))
            return torch.stack([silent if s.chords is None else pitches_of_chords(s, times) for s in scores])

        device = self.text_proj.weight.device
        chroma = F.one_hot(sounding(config.hop_length).argmax(1), 12).mT.float()
        return chroma.to(device), sounding(HOP_LENGTH).to(device)

    @torch.inference_mode()
    def _conditions(
        self, prompts: list[str], followed: Followed, scores: list[Score], guidance_scale: Number
    ) -> Callable[[int, int], Conditions]:
        """From a window's first frame and number of steps to the conditions of the prompts, then those of nothing."""
        device, config, (chroma, pitches) = self.text_proj.weight.device, self.config.melody, followed
        text, text_mask = (part.to(device) for part in self.text_encoder(prompts))
        per_pitch = 0.0 if config is None else HOP_LENGTH / config.sample_rate * self.codec.frame_rate

        @torch.inference_mode()
        def conditions(start: int, n_steps: int) -> Conditions:
            heard, added = chroma, None
            if heard is not None and start and config is not None:
                seconds = start / self.codec.frame_rate
                heard = heard.roll(-round(seconds * config.sample_rate / config.hop_length), dims=2)
            if self.config.controls:
                told = features_of(scores, start, n_steps, self.codec.frame_rate, pitches, per_pitch).to(device)
                told = told if guidance_scale == 1 else torch.cat([told, torch.zeros_like(told)])
                added = self.controls(told)
            states, mask = self.condition(text, text_mask, heard)
            if guidance_scale == 1:
                return states, mask, added
            null, _ = self.condition(text, text_mask, heard, text_mask.new_zeros(len(text)))
            return torch.cat([states, null]), mask.repeat(2, 1), added

        return conditions

    def _frames(
        self,
        conditions: Callable[[int, int], Conditions],
        given: Int64[Tensor, "B K P"],
        n_frames: int,
        guidance_scale: Number,
        sampling: Sampling,
        rngs: list[torch.Generator],
    ) -> Iterator[Int64[Tensor, "B K"]]:
        """Codes of the frames after the given ones, one by one; as many windows as it takes."""
        window, codes = round(self.config.max_duration * self.codec.frame_rate), given
        while codes.shape[2] < n_frames:
            known = codes if n_frames <= window else codes[:, :, -(window // 2) :]
            start = codes.shape[2] - known.shape[2]
            made = []
            layout = patterns.delay(min(window, n_frames - start), self.config.delays)
            step = self._step(conditions(start, layout.shape[1]), layout.shape[1], guidance_scale)
            draw = partial(sample, rngs=rngs, config=sampling)
            for frame in decode(step, draw, known, layout, self.config.special):
                made.append(frame)
                yield frame
            codes = torch.cat([codes, torch.stack(made, dim=2)], dim=2)

    def _step(self, conditions: Conditions, n_steps: int, guidance_scale: Number) -> Callable[[Tensor], Tensor]:
        """Guided logits of the step after some columns, with the past in a cache."""
        states, mask, added = conditions
        prefix = 0 if self.config.melody is None else states.shape[1]
        state = self.decoder.state(len(states), n_steps + prefix)

        @torch.inference_mode()
        def step(columns: Int64[Tensor, "B K n"]) -> Float[Tensor, "B K V"]:
            halves = len(states) // len(columns)
            now = max(state.length - prefix, 0)
            more = None if added is None else added[:, now : now + columns.shape[2]]
            logits = self.decoder(columns.repeat(halves, 1, 1), states, mask, state, more)[:, :, -1]
            if halves == 1:
                return logits
            cond, null = logits.chunk(2)
            return extrapolate(cond, null, guidance_scale)

        return step

    def _sound(
        self,
        frames: Iterator[Tensor],
        given: Int64[Tensor, "B K P"],
        length: int,
        n_frames: int,
        chunk_frames: int,
        progress: Progress | None,
    ) -> Iterator[list[Audio]]:
        """Decodes frames as they come, `chunk_frames` at a time, and cuts the last one to `length` samples."""
        sides = self.config.n_codebooks // self.codec.n_codebooks
        with ExitStack() as stack:
            streams = [stack.enter_context(self.codec.streaming()) for _ in range(sides)]
            waiting, made = list(given.unbind(2)), 0
            for done, frame in enumerate(frames, start=given.shape[2] + 1):
                waiting.append(frame)
                if progress is not None:
                    progress(done, n_frames)
                if len(waiting) >= chunk_frames or done == n_frames:
                    codes = torch.stack(waiting, dim=2)
                    parts = [s.decode(codes[:, i::sides], last=done == n_frames) for i, s in enumerate(streams)]
                    waveform = torch.cat(parts, dim=1)[..., : length - made].float().cpu()
                    made, waiting = made + waveform.shape[2], []
                    if waveform.shape[2]:
                        yield [Audio(samples.numpy(), self.codec.sample_rate) for samples in waveform]
