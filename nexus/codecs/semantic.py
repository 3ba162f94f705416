"""Semantic tokens, as AudioLM (arXiv:2209.03143), MusicLM and Bark have them: k-means over what a speech encoder hears.

A frame's token is the nearest of N centres to the hidden state of one layer of a self-supervised encoder (HuBERT,
arXiv:2106.07447; wav2vec 2.0, arXiv:2006.11477; w2v-BERT 2.0, arXiv:2312.05187). There is no way back to sound: models
learn it. Long sounds are heard in windows of half a minute, which are exact at their seams in time, not in context.
Axes: B batch, L waveform samples, T frames, D width, N centres.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from nexus.codecs.codec import Codec
from nexus.nn.checkpoint import save_folder
from nexus.nn.quantize import nearest

MEL_WINDOW, MEL_HOP = 400, 160  # samples, of w2v-BERT's mel frames


@dataclass(frozen=True, kw_only=True)
class SemanticConfig:
    n_clusters: int = 1000
    dim: int = 768  # of the encoder
    layer: int = 7  # whose output is quantised; 1 is the first
    sample_rate: int = 16000
    hop_length: int = 320  # samples from one frame to the next
    field_length: int = 400  # samples that a frame hears before attention
    window: int = 1500  # frames heard together

    def __post_init__(self):
        if min(self.n_clusters, self.dim, self.layer, self.window, self.hop_length) < 1:
            raise ValueError(f"n_clusters, dim, layer, window and hop_length must be positive, got {self}")
        if self.field_length < self.hop_length:
            raise ValueError(f"field_length must be at least hop_length {self.hop_length}, got {self.field_length}")


class SemanticTokens(Codec):
    """`speech_encoder(waveform [B, L], mask [B, L])` gives hidden states [B, T, D]; it is a part of its own, attached
    after construction, whose weights stay where they are."""

    centres: Tensor
    speech_encoder: nn.Module

    def __init__(self, config: SemanticConfig):
        super().__init__()
        self.config = config
        self.register_buffer("centres", torch.zeros(config.n_clusters, config.dim))

    @property
    def codebook_size(self) -> int:
        return self.config.n_clusters

    @property
    def n_codebooks(self) -> int:
        return 1

    def n_frames(self, length: int) -> int:
        """Of so many samples; fewer than one frame hears are filled up with zeros to one."""
        return max(1, (length - self.config.field_length) // self.hop_length + 1)

    @property
    def window_length(self) -> int:
        return (self.config.window - 1) * self.hop_length + self.config.field_length

    @torch.inference_mode()
    def features(
        self, waveform: Float[Tensor, "B 1 L"], mask: Bool[Tensor, "B L"] | None = None
    ) -> Float[Tensor, "B T D"]:
        """Hidden states of the layer, window after window; zeros where a frame is not wholly real.

        Raises:
            ValueError: an empty waveform, or an item without a real sample.
        """
        self.check_samples(waveform)
        if waveform.shape[-1] == 0 or (mask is not None and not mask.any(1).all()):
            raise ValueError("an empty waveform has no tokens; give at least one sample")
        missing = max(0, self.config.field_length - waveform.shape[-1])
        waveform = nn.functional.pad(waveform[:, 0], (0, missing))
        real = torch.ones_like(waveform, dtype=torch.bool) if mask is None else nn.functional.pad(mask, (0, missing))
        real = real | (torch.arange(waveform.shape[1], device=real.device) < self.config.field_length)
        n, step = self.n_frames(waveform.shape[1]), self.config.window
        parts = [self._window(waveform, real, start, min(start + step, n)) for start in range(0, n, step)]
        return torch.cat(parts, dim=1)

    def _window(self, waveform: Tensor, mask: Tensor, start: int, stop: int) -> Tensor:
        """Frames start to stop; items that ended before are left out. A window that an item does not fill hears all
        that is left of it, also what makes no whole frame: loudness is normalised over it."""
        where = slice(start * self.hop_length, start * self.hop_length + self.window_length)
        waveform, mask = waveform[:, where], mask[:, where]
        there = mask.sum(1) >= self.config.field_length
        states = torch.zeros(len(waveform), stop - start, self.config.dim, device=waveform.device)
        if there.any():
            heard = self.speech_encoder(waveform[there], mask[there]).float()
            states[there, : heard.shape[1]] = heard
        return states

    def frame_mask(self, mask: Bool[Tensor, "B L"]) -> Bool[Tensor, "B T"]:
        """Which frames are real, of which samples are."""
        n = torch.tensor([self.n_frames(int(length)) for length in mask.sum(1)], device=mask.device)
        return torch.arange(self.n_frames(mask.shape[1]), device=mask.device) < n[:, None]

    @torch.inference_mode()
    def encode(self, waveform: Float[Tensor, "B 1 L"], mask: Bool[Tensor, "B L"] | None = None) -> Int[Tensor, "B 1 T"]:
        """Tokens of every frame; -1 where `mask` (True = real sample) leaves nothing to hear."""
        states = self.features(waveform, mask)
        codes = nearest(states.flatten(0, 1), self.centres.float()).unflatten(0, states.shape[:2])
        return (codes if mask is None else codes.where(self.frame_mask(mask), -1))[:, None]

    @contextmanager
    def streaming(self) -> Iterator["SemanticStream"]:
        """`with tokens.streaming() as s: s.encode(chunk, last=...)`: chunks together equal the whole; the look-ahead
        is a window."""
        yield SemanticStream(self)

    def save(self, folder: str | Path, speech_encoder: str) -> None:
        """Writes centres and config; `speech_encoder` names the folder or hub id of the encoder."""
        save_folder(self, folder, kind="semantic", config=self.config, parts={"speech_encoder": speech_encoder})


class SemanticStream:
    """Tokens window by window."""

    def __init__(self, tokens: SemanticTokens):
        self.tokens = tokens
        self._waiting: Tensor | None = None
        self._started = False

    def encode(self, chunk: Float[Tensor, "B 1 L"], *, last: bool = False) -> Int[Tensor, "B 1 T"]:
        """Tokens of the windows that are complete with this chunk; maybe none yet."""
        config, hop, whole = self.tokens.config, self.tokens.hop_length, self.tokens.window_length
        waiting = chunk if self._waiting is None else torch.cat([self._waiting, chunk], dim=-1)
        codes = []
        while waiting.shape[-1] >= whole:
            codes.append(self.tokens.encode(waiting[..., :whole]))
            waiting, self._started = waiting[..., config.window * hop :], True
        if last and (waiting.shape[-1] >= config.field_length or (waiting.shape[-1] and not self._started)):
            codes.append(self.tokens.encode(waiting))
        self._waiting = waiting
        return torch.cat(codes, dim=-1) if codes else torch.zeros(len(chunk), 1, 0, dtype=torch.int64)


class SpeechEncoder(nn.Module):
    """A transformers model (Wav2Vec2Model, HubertModel, Wav2Vec2BertModel) up to one layer, that gives an
    item of a batch what it would give it alone.

    Args:
        extractor: transformers' feature extractor, which says whether loudness is normalised, and makes the mel frames
            of w2v-BERT.
    """

    def __init__(self, model: nn.Module, extractor: Any, layer: int):
        super().__init__()
        layers = cast(nn.ModuleList, model.encoder.layers)  # type: ignore[union-attr]
        if not 1 <= layer <= len(layers):
            raise ValueError(f"layer must be 1 to {len(layers)}, got {layer}")
        model.encoder.layers = layers[:layer]  # type: ignore[union-attr]
        self.model, self.extractor = model.eval().requires_grad_(False), extractor
        self._heard: list[Tensor] = []
        layers[layer - 1].register_forward_hook(self._hear)

    def _hear(self, module: nn.Module, given: Any, output: Any) -> None:
        """Keeps what the last layer gives; what the model makes of it (a norm, in some) is of no use here."""
        self._heard.append(output[0] if isinstance(output, tuple) else output)

    @property
    def config(self) -> Any:
        return self.model.config

    @property
    def dim(self) -> int:
        return self.config.hidden_size

    @property
    def hop_length(self) -> int:
        return math.prod(self.config.conv_stride) if self._hears_samples else 2 * MEL_HOP

    @property
    def field_length(self) -> int:
        """Samples that a frame hears before attention; of w2v-BERT two mel frames."""
        if not self._hears_samples:
            return MEL_WINDOW + MEL_HOP
        length = 1
        for kernel, stride in zip(reversed(self.config.conv_kernel), reversed(self.config.conv_stride), strict=True):
            length = (length - 1) * stride + kernel
        return length

    @property
    def _hears_samples(self) -> bool:
        """Else mel frames, in pairs."""
        return hasattr(self.config, "conv_kernel")

    def forward(self, waveform: Float[Tensor, "B L"], mask: Bool[Tensor, "B L"]) -> Float[Tensor, "B T D"]:
        """Hidden states; zeros at frames that are not wholly real."""
        lengths = mask.sum(1).tolist()
        items = [item[:length] for item, length in zip(waveform, lengths, strict=True)]
        # A group norm over time hears the padding, a mask or not; and mel frames are made item by item anyway.
        alone = len(set(lengths)) > 1 and self._hears_padding
        groups = [[item] for item in items] if alone else [items]
        states = [state for group in groups for state in self._states(group)]
        return nn.utils.rnn.pad_sequence(states, batch_first=True)

    @property
    def _hears_padding(self) -> bool:
        return getattr(self.config, "feat_extract_norm", "layer") == "group"

    def _states(self, items: list[Tensor]) -> list[Tensor]:
        place = next(self.model.parameters())
        inputs = self.extractor(
            [item.float().cpu().numpy() for item in items],
            sampling_rate=self.extractor.sampling_rate,
            padding=True,
            return_attention_mask=True,
            return_tensors="pt",
        )
        mask = inputs["attention_mask"].to(place.device)
        values = next(inputs[name] for name in ("input_values", "input_features") if name in inputs).to(place)
        given = {} if self._hears_padding else {"attention_mask": mask}
        self._heard.clear()
        self.model(values, **given)
        (states,) = self._heard
        self._heard.clear()
        frames = [(len(item) - self.field_length) // self.hop_length + 1 for item in items]
        return [state[:n] for state, n in zip(states, frames, strict=True)]
