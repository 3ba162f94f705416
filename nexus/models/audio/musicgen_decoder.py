"""MusicGen's language model (arXiv:2306.05284, section 2): a causal transformer over delayed EnCodec codes.

Text reaches it by cross-attention (`melody=None`), or text and chroma are put before the codes (the melody variant).
Axes: B batch, K codebooks, T steps, S condition positions, V codebook entries, D width, N heads, E head width.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn
from torch.nn import functional as F

from nexus.nn.attention import attend, merge_heads, split_heads
from nexus.nn.cache import KeyValueCache

KeysValues = tuple[Float[Tensor, "B N S E"], Float[Tensor, "B N S E"]]


@dataclass(frozen=True, kw_only=True)
class MelodyConfig:
    """How a melody is heard: the loudest of 12 pitch classes in each frame, `length` frames, repeated to fill them."""

    sample_rate: int = 32000
    n_fft: int = 16384
    hop_length: int = 4096
    length: int = 235  # frames

    def __post_init__(self):
        if min(self.sample_rate, self.n_fft, self.hop_length, self.length) < 1:
            raise ValueError(f"the numbers of a melody config must be positive, got {self}")


@dataclass(frozen=True, kw_only=True)
class MusicGenConfig:
    dim: int = 1024
    n_layers: int = 24
    n_heads: int = 16
    ffn_dim: int = 4096
    codebook_size: int = 2048
    delays: tuple[int, ...] = (0, 1, 2, 3)  # one a codebook; steps
    text_dim: int = 768  # width of the text encoder
    melody: MelodyConfig | None = None  # None: text by cross-attention
    max_duration: float = 30.0  # seconds, as trained
    condition_dropout: float = 0.2  # of text and melody together, for guidance
    melody_dropout: float = 0.5  # of the melody alone, so that text suffices
    guidance_scale: float = 3.0  # this and the temperature are `generate`'s where it is given none
    temperature: float = 1.0
    candidates: int = 1  # as many are made of each prompt, and the one nearest to it is kept; needs a ranker
    controls: bool = False  # of beat, key and pitch at every frame, `musicgen_controls`
    control_dropout: float = 0.2  # of each

    def __post_init__(self):
        if self.dim % (2 * self.n_heads):
            raise ValueError(f"dim ({self.dim}) must be a multiple of 2 * n_heads ({2 * self.n_heads})")
        if self.controls and self.melody is None:
            raise ValueError("controls follow pitches as a melody variant does: give a melody config too")
        if not self.delays or min(self.delays) != 0:
            raise ValueError(f"delays must start from 0, such as (0, 1, 2, 3), got {self.delays}")

    @staticmethod
    def small() -> "MusicGenConfig":
        """300 M parameters, `facebook/musicgen-small`."""
        return MusicGenConfig()

    @staticmethod
    def medium() -> "MusicGenConfig":
        """1.5 B parameters, `facebook/musicgen-medium`."""
        return MusicGenConfig(dim=1536, n_layers=48, n_heads=24, ffn_dim=6144)

    @staticmethod
    def large() -> "MusicGenConfig":
        """3.3 B parameters, `facebook/musicgen-large`."""
        return MusicGenConfig(dim=2048, n_layers=48, n_heads=32, ffn_dim=8192)

    @staticmethod
    def melody_medium() -> "MusicGenConfig":
        """1.5 B parameters, `facebook/musicgen-melody`."""
        return MusicGenConfig(dim=1536, n_layers=48, n_heads=24, ffn_dim=6144, melody=MelodyConfig())

    @staticmethod
    def stereo_small() -> "MusicGenConfig":
        """`facebook/musicgen-stereo-small`: left and right codes in turn."""
        return MusicGenConfig(delays=(0, 0, 1, 1, 2, 2, 3, 3))

    @property
    def n_codebooks(self) -> int:
        return len(self.delays)

    @property
    def special(self) -> int:
        """The id of "no code here"."""
        return self.codebook_size


def sinusoids(positions: Int64[Tensor, "B T"], dim: int) -> Float[Tensor, "B T D"]:
    """Cosines, then sines, of dim / 2 wavelengths from 2 pi to 20000 pi."""
    half = dim // 2
    rates = torch.exp(torch.arange(half, device=positions.device) * (-math.log(10000) / (half - 1)))
    angles = positions[..., None] * rates
    return torch.cat([angles.cos(), angles.sin()], dim=-1)


class Layer(nn.Module):
    """Pre-norm: causal self-attention, cross-attention where text comes that way, and a GELU network; no biases."""

    def __init__(self, config: MusicGenConfig):
        super().__init__()
        dim, self.n_heads = config.dim, config.n_heads
        self.norm = nn.LayerNorm(dim)
        self.qkv = nn.Linear(dim, 3 * dim, bias=False)
        self.out = nn.Linear(dim, dim, bias=False)
        if config.melody is None:
            self.cross_norm = nn.LayerNorm(dim)
            self.cross_q = nn.Linear(dim, dim, bias=False)
            self.cross_kv = nn.Linear(dim, 2 * dim, bias=False)
            self.cross_out = nn.Linear(dim, dim, bias=False)
        self.ffn_norm = nn.LayerNorm(dim)
        self.ffn_in = nn.Linear(dim, config.ffn_dim, bias=False)
        self.ffn_out = nn.Linear(config.ffn_dim, dim, bias=False)

    def memory(self, states: Float[Tensor, "B S D"]) -> KeysValues:
        """Keys and values of the text, the same at every step."""
        k, v = self.cross_kv(states).chunk(2, dim=-1)
        return split_heads(k, self.n_heads), split_heads(v, self.n_heads)

    def forward(
        self,
        x: Float[Tensor, "B T D"],
        mask: Bool[Tensor, "B S"] | None,
        memory: KeysValues | None,
        memory_mask: Bool[Tensor, "B R"] | None,
        cache: KeyValueCache | None,
    ) -> Float[Tensor, "B T D"]:
        q, k, v = (split_heads(part, self.n_heads) for part in self.qkv(self.norm(x)).chunk(3, dim=-1))
        if cache is not None:
            k, v = cache.append(k, v)
        x = x + self.out(merge_heads(attend(q, k, v, mask, causal=q.shape[2] > 1)))
        if memory is not None:
            q = split_heads(self.cross_q(self.cross_norm(x)), self.n_heads)
            x = x + self.cross_out(merge_heads(attend(q, *memory, memory_mask)))
        return x + self.ffn_out(F.gelu(self.ffn_in(self.ffn_norm(x))))


@dataclass
class DecodingState:
    """What a step keeps: one cache a layer, and the text's keys and values, computed at the first step."""

    caches: list[KeyValueCache]
    memory: list[KeysValues] | None = None

    @property
    def length(self) -> int:
        return self.caches[0].length


class Decoder(nn.Module):
    """The language model: codes in, logits of the next step out."""

    few_rows = True  # `nexus.nn.prepack`

    def __init__(self, config: MusicGenConfig):
        super().__init__()
        self.config = config
        self.embed = nn.ModuleList(nn.Embedding(config.codebook_size + 1, config.dim) for _ in config.delays)
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.n_layers))
        self.norm = nn.LayerNorm(config.dim)
        self.head = nn.Linear(config.dim, config.n_codebooks * config.codebook_size, bias=False)

    def state(self, batch: int, max_length: int) -> DecodingState:
        """An empty state for `max_length` positions, the prefix of the melody variant counted in."""
        config, weight = self.config, self.head.weight
        sizes = batch, config.n_heads, max_length, config.dim // config.n_heads
        return DecodingState([KeyValueCache(*sizes, device=weight.device, dtype=weight.dtype) for _ in self.layers])

    def forward(
        self,
        tokens: Int64[Tensor, "B K T"],
        states: Float[Tensor, "B S D"],
        mask: Bool[Tensor, "B S"],
        state: DecodingState | None = None,
        added: Float[Tensor, "B T D"] | None = None,
    ) -> Float[Tensor, "B K T V"]:
        """Logits of the step after each; arguments as in `hidden`."""
        return self.logits(self.hidden(tokens, states, mask, state, added))

    def logits(self, hidden: Float[Tensor, "B T D"]) -> Float[Tensor, "B K T V"]:
        return self.head(hidden).unflatten(-1, (self.config.n_codebooks, -1)).transpose(1, 2)

    def hidden(
        self,
        tokens: Int64[Tensor, "B K T"],
        states: Float[Tensor, "B S D"],
        mask: Bool[Tensor, "B S"],
        state: DecodingState | None = None,
        added: Float[Tensor, "B T D"] | None = None,
    ) -> Float[Tensor, "B T D"]:
        """What the heads read; with a `state` the tokens continue those it has seen.

        Args:
            states: projected conditions, attended to (text), or put before the tokens (melody) where the mask is True.
            added: what the controls add to the embeddings of these steps.
        """
        x = torch.stack([embed(tokens[:, k]) for k, embed in enumerate(self.embed)]).sum(0)
        if added is not None:
            x = x + added.to(x.dtype)
        past = 0 if state is None else state.length
        start = torch.full((len(tokens), 1), past, device=x.device)
        positions = start + torch.arange(tokens.shape[2], device=x.device)
        memory, key_mask = [None] * len(self.layers), None
        if self.config.melody is None:
            memory = self._memory(states, state)
        else:
            real = mask.sum(1, keepdim=True)
            if past == 0:
                x = torch.cat([states, x], dim=1)
                positions = torch.cat([mask.cumsum(1) - mask.long(), positions + real], dim=1)
            else:
                positions = positions - mask.shape[1] + real
            if not mask.all():
                key_mask = F.pad(mask, (0, past + x.shape[1] - mask.shape[1]), value=True)
        x = x + sinusoids(positions, self.config.dim).to(x.dtype)
        for i, layer in enumerate(self.layers):
            x = layer(x, key_mask, memory[i], mask, None if state is None else state.caches[i])
        return self.norm(x[:, x.shape[1] - tokens.shape[2] :])

    def _memory(self, states: Tensor, state: DecodingState | None) -> list[KeysValues]:
        if state is not None and state.memory is not None:
            return state.memory
        memory = [layer.memory(states) for layer in self.layers]  # type: ignore[operator]
        if state is not None:
            state.memory = memory
        return memory
