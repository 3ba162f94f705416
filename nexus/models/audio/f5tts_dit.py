"""The network of F5-TTS (arXiv:2410.06885): a diffusion transformer over mel frames that infills masked speech.

Each frame's noisy mel, known mel and text embedding are joined; adaLN-zero blocks (arXiv:2212.09748) with rotary
positions predict the velocity. Text is refined by ConvNeXt V2 blocks (arXiv:2301.00808).

Axes: B batch, M mel bins, T frames, P patches of frames, D width, S text tokens. Text ids are -1 where there is none.
"""

import math
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from nexus.nn.modulation import last_layer, projection
from nexus.nn.rope import Rotation, apply_rope, rope_frequencies


@dataclass(frozen=True, kw_only=True)
class DiTConfig:
    n_mels: int = 100
    n_symbols: int = 2545  # text ids are 0 … n_symbols - 1
    dim: int = 1024
    n_layers: int = 22
    n_heads: int = 16
    ff_mult: float = 2.0
    text_dim: int = 512
    text_layers: int = 4
    dropout: float = 0.1
    mask_text_padding: bool = True  # v0 weights were trained without
    mask_attention: bool = False  # official weights attend to the padding of a batch
    n_rotary_heads: int | None = None  # None turns all heads; v0 weights turn the first only
    position_kernel: int = 31  # width of the position convolutions
    patch_size: int = 1  # mel frames in one position of the transformer
    predicts: Literal["velocity", "data"] = "velocity"  # "data" is turned into a velocity (arXiv:2511.13720)
    voice_summary: bool = False  # adds mean and deviation of the known mel to the time embedding
    modulation_rank: int | None = None  # of the blocks' modulations; None is full

    def __post_init__(self):
        if self.dim % self.n_heads or (self.dim // self.n_heads) % 2:
            raise ValueError(f"dim ({self.dim}) must divide into n_heads ({self.n_heads}) of even width")
        if self.dim % 16:
            raise ValueError(f"dim must be a multiple of 16, the groups of its position convolution, got {self.dim}")
        if self.patch_size < 1 or self.text_dim % (2 * self.patch_size):
            raise ValueError(f"text_dim ({self.text_dim}) must be a multiple of twice patch_size ({self.patch_size})")
        if self.position_kernel % 2 == 0:
            raise ValueError(f"position_kernel must be odd to keep the frame count, got {self.position_kernel}")

    @staticmethod
    def v1_base() -> "DiTConfig":
        return DiTConfig()

    @staticmethod
    def v0_base() -> "DiTConfig":
        return DiTConfig(mask_text_padding=False, n_rotary_heads=1)


class TimeEmbedding(nn.Module):
    """Sinusoids of 1000 t (sines first), then two linear layers."""

    def __init__(self, dim: int, n_frequencies: int = 128):
        super().__init__()
        self.n_frequencies = n_frequencies
        self.mlp = nn.Sequential(nn.Linear(2 * n_frequencies, dim), nn.SiLU(), nn.Linear(dim, dim))

    def forward(self, t: Float[Tensor, " B"]) -> Float[Tensor, "B D"]:
        exponents = torch.arange(self.n_frequencies, device=t.device) * (-math.log(10000) / (self.n_frequencies - 1))
        angles = 1000 * t.float()[:, None] * exponents.exp()
        return self.mlp(torch.cat([angles.sin(), angles.cos()], dim=-1).to(t.dtype))


class GlobalResponseNorm(nn.Module):
    """Divides each channel's norm over time by the mean norm (ConvNeXt V2, eq. 1 to 3)."""

    def __init__(self, dim: int):
        super().__init__()
        self.gamma = nn.Parameter(torch.zeros(1, 1, dim))
        self.beta = nn.Parameter(torch.zeros(1, 1, dim))

    def forward(self, x: Float[Tensor, "B T D"]) -> Float[Tensor, "B T D"]:
        norm = x.norm(dim=1, keepdim=True)
        return self.gamma * (x * (norm / (norm.mean(dim=-1, keepdim=True) + 1e-6))) + self.beta + x


class ConvNeXtV2Block(nn.Module):
    def __init__(self, dim: int, hidden_dim: int, kernel_size: int = 7):
        super().__init__()
        self.conv = nn.Conv1d(dim, dim, kernel_size, padding=kernel_size // 2, groups=dim)
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self.up = nn.Linear(dim, hidden_dim)
        self.response_norm = GlobalResponseNorm(hidden_dim)
        self.down = nn.Linear(hidden_dim, dim)

    def forward(self, x: Float[Tensor, "B T D"]) -> Float[Tensor, "B T D"]:
        return x + self.down(self.response_norm(F.gelu(self.up(self.norm(self.conv(x.mT).mT)))))


class TextEmbedding(nn.Module):
    """One vector a patch from the text ids of its frames, side by side, with sinusoidal positions and convolutions."""

    def __init__(self, config: DiTConfig):
        super().__init__()
        self.patch_size, self.mask_padding = config.patch_size, config.mask_text_padding
        self.embed = nn.Embedding(config.n_symbols + 1, config.text_dim // config.patch_size)  # row 0 is filler
        self.blocks = nn.ModuleList(
            ConvNeXtV2Block(config.text_dim, 2 * config.text_dim) for _ in range(config.text_layers)
        )

    def forward(
        self, text: Int[Tensor, "B T"], mask: Bool[Tensor, "B T"], drop: Bool[Tensor, " B"]
    ) -> Float[Tensor, "B P D"]:
        text = torch.where(mask, text + 1, 0)
        is_text = self._patches(text != 0).any(-1, keepdim=True)  # [B, P, 1]
        valid = self._patches(mask).any(-1, keepdim=True)
        embedded = self._patches(torch.where(drop[:, None], 0, text))  # [B, P, patch]
        x = self.embed(embedded).flatten(2) * valid
        if not self.blocks:
            return x
        positions = torch.arange(x.shape[1], device=x.device)
        x = x + torch.cat(rope_frequencies(x.shape[-1], positions), dim=-1).to(x.dtype) * valid
        for block in self.blocks:
            x = block(x * is_text if self.mask_padding else x)
        return x * is_text if self.mask_padding else x

    def _patches(self, frames: Tensor) -> Tensor:
        return frames.unflatten(1, (-1, self.patch_size))


class ConvPosition(nn.Module):
    """Two grouped convolutions whose result is added to their input: positions relative to neighbours."""

    def __init__(self, dim: int, kernel_size: int, groups: int = 16):
        super().__init__()
        self.convs = nn.ModuleList(
            nn.Conv1d(dim, dim, kernel_size, padding=kernel_size // 2, groups=groups) for _ in range(2)
        )

    def forward(self, x: Float[Tensor, "B P D"], mask: Bool[Tensor, "B P 1"]) -> Float[Tensor, "B P D"]:
        y = (x * mask).mT
        for conv in self.convs:
            y = F.mish(conv(y)) * mask.mT
        return x + y.mT


class Attention(nn.Module):
    def __init__(self, config: DiTConfig):
        super().__init__()
        self.n_heads, self.mask_attention, self.dropout = config.n_heads, config.mask_attention, config.dropout
        self.n_rotary_heads = config.n_rotary_heads or config.n_heads
        self.to_qkv = nn.Linear(config.dim, 3 * config.dim)
        self.to_out = nn.Linear(config.dim, config.dim)

    def forward(
        self, x: Float[Tensor, "B P D"], mask: Bool[Tensor, "B P 1"] | None, rotation: Rotation
    ) -> Float[Tensor, "B P D"]:
        q, k, v = rearrange(self.to_qkv(x), "b p (three n e) -> three b n p e", three=3, n=self.n_heads)
        keys = mask.squeeze(-1)[:, None, None] if mask is not None and self.mask_attention else None
        x = F.scaled_dot_product_attention(self._turn(q, rotation), self._turn(k, rotation), v, attn_mask=keys)
        x = F.dropout(self.to_out(rearrange(x, "b n p e -> b p (n e)")), self.dropout, self.training)
        return x if mask is None else x * mask

    def _turn(self, x: Tensor, rotation: Rotation) -> Tensor:
        n = self.n_rotary_heads
        turned = apply_rope(x[:, :n], *rotation)
        return turned if n == self.n_heads else torch.cat([turned, x[:, n:]], dim=1)


class Block(nn.Module):
    """Attention and feed-forward, each shifted, scaled and gated by the time embedding; starts as the identity."""

    def __init__(self, config: DiTConfig):
        super().__init__()
        dim, inner = config.dim, int(config.dim * config.ff_mult)
        self.modulation = projection(dim, 6 * dim, config.modulation_rank)
        self.norm = nn.LayerNorm(dim, eps=1e-6, elementwise_affine=False)
        self.attention = Attention(config)
        self.up = nn.Linear(dim, inner)
        self.down = nn.Linear(inner, dim)
        self.dropout = config.dropout
        nn.init.zeros_(last_layer(self.modulation).weight)
        nn.init.zeros_(last_layer(self.modulation).bias)

    def forward(
        self,
        x: Float[Tensor, "B P D"],
        time: Float[Tensor, "B D"],
        mask: Bool[Tensor, "B P 1"] | None,
        rotation: Rotation,
    ) -> Float[Tensor, "B P D"]:
        shift, scale, gate, ff_shift, ff_scale, ff_gate = self.modulation(F.silu(time))[:, None].chunk(6, dim=-1)
        x = x + gate * self.attention(self.norm(x) * (1 + scale) + shift, mask, rotation)
        hidden = F.gelu(self.up(self.norm(x) * (1 + ff_scale) + ff_shift), approximate="tanh")
        return x + ff_gate * self.down(F.dropout(hidden, self.dropout, self.training))


class VoiceSummary(nn.Module):
    """A vector from mean and deviation over time of the known mel; zero where nothing is known."""

    def __init__(self, n_mels: int, dim: int):
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(2 * n_mels, dim), nn.SiLU(), nn.Linear(dim, dim))

    def forward(self, mel: Float[Tensor, "B M T"], known: Bool[Tensor, "B T"]) -> Float[Tensor, "B D"]:
        weight = known[:, None].to(mel.dtype)
        count = weight.sum(dim=-1).clamp(min=1)
        mean = (mel * weight).sum(dim=-1) / count
        variance = ((mel - mean[..., None]).square() * weight).sum(dim=-1) / count
        summary = self.mlp(torch.cat([mean, (variance + 1e-5).sqrt()], dim=-1))
        return summary * known.any(dim=-1, keepdim=True)


@dataclass(frozen=True)
class Conditions:
    """What the network is told alike at every time."""

    seen: Float[Tensor, "B P S"]  # known mel and text of each patch
    voice: Float[Tensor, "B D"] | None  # summary of the known mel
    own: Bool[Tensor, "B P 1"]  # patches that belong to an item
    padded: bool  # whether some do not


class DiT(nn.Module):
    """Velocity field over a mel, given the known part of it (zero elsewhere) and one text id a frame."""

    def __init__(self, config: DiTConfig):
        super().__init__()
        self.config = config
        frame_dim = config.n_mels * config.patch_size
        self.time_embed = TimeEmbedding(config.dim)
        self.text_embed = TextEmbedding(config)
        self.voice_summary = VoiceSummary(config.n_mels, config.dim) if config.voice_summary else None
        self.proj_in = nn.Linear(2 * frame_dim + config.text_dim, config.dim)
        self.conv_position = ConvPosition(config.dim, config.position_kernel)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.n_layers))
        self.modulation_out = nn.Linear(config.dim, 2 * config.dim)
        self.norm_out = nn.LayerNorm(config.dim, eps=1e-6, elementwise_affine=False)
        self.proj_out = nn.Linear(config.dim, frame_dim)
        for layer in (self.modulation_out, self.proj_out):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(
        self,
        x_t: Float[Tensor, "B M T"],
        t: Float[Tensor, " B"],
        cond: Float[Tensor, "B M T"],
        text: Int[Tensor, "B S"],
        mask: Bool[Tensor, "B T"] | None = None,
        drop_cond: Bool[Tensor, " B"] | None = None,
        drop_text: Bool[Tensor, " B"] | None = None,
    ) -> Float[Tensor, "B M T"]:
        """Velocity at time t; items whose `drop` is True do not see that condition (classifier-free guidance).

        `mask` marks each item's own frames; None means that all are.
        """
        return self.velocity(x_t, t, self.conditions(cond, text, mask, drop_cond, drop_text))

    def conditions(
        self,
        cond: Float[Tensor, "B M T"],
        text: Int[Tensor, "B S"],
        mask: Bool[Tensor, "B T"] | None = None,
        drop_cond: Bool[Tensor, " B"] | None = None,
        drop_text: Bool[Tensor, " B"] | None = None,
    ) -> Conditions:
        """What `forward` makes of its conditions; a sampler needs it once for all steps."""
        batch, _, length = cond.shape
        nothing = torch.zeros(batch, dtype=torch.bool, device=cond.device)
        cond = torch.where((nothing if drop_cond is None else drop_cond)[:, None, None], 0, cond)
        patch = self.config.patch_size
        missing = -length % patch
        frames = F.pad(torch.ones_like(cond[:, 0], dtype=torch.bool) if mask is None else mask, (0, missing))
        text = F.pad(text[:, :length], (0, frames.shape[1] - min(text.shape[1], length)), value=-1)
        words = self.text_embed(text, frames, nothing if drop_text is None else drop_text)
        voice = None if self.voice_summary is None else self.voice_summary(cond, cond.ne(0).any(dim=1))
        return Conditions(
            seen=torch.cat([self._to_patches(cond), words], dim=-1),
            voice=voice,
            own=frames.unflatten(1, (-1, patch)).any(-1, keepdim=True),
            padded=mask is not None,
        )

    def velocity(
        self, x_t: Float[Tensor, "B M T"], t: Float[Tensor, " B"], given: Conditions
    ) -> Float[Tensor, "B M T"]:
        """Velocity at time t under conditions that were made before."""
        x = torch.cat([self._to_patches(x_t), given.seen], dim=-1)
        x = self.conv_position(self.proj_in(x), given.own)
        time = self.time_embed(t)
        if given.voice is not None:
            time = time + given.voice
        rotation = rope_frequencies(
            self.config.dim // self.config.n_heads, torch.arange(x.shape[1], device=x.device), 10000.0
        )
        padding = given.own if given.padded else None
        for block in self.blocks:
            x = block(x, time, padding, rotation)
        scale, shift = self.modulation_out(F.silu(time))[:, None].chunk(2, dim=-1)
        out = self.proj_out(self.norm_out(x) * (1 + scale) + shift)
        out = rearrange(out, "b p (patch m) -> b m (p patch)", patch=self.config.patch_size)[..., : x_t.shape[-1]]
        return out if self.config.predicts == "velocity" else self._velocity_to(out, x_t, t)

    def _to_patches(self, mel: Tensor) -> Tensor:
        patch = self.config.patch_size
        return rearrange(F.pad(mel, (0, -mel.shape[-1] % patch)), "b m (p patch) -> b p (patch m)", patch=patch)

    def _velocity_to(self, data: Tensor, x_t: Tensor, t: Tensor) -> Tensor:
        """The velocity that leads from x_t to the predicted data; near t = 1 the division is bounded."""
        return (data - x_t) / (1 - t).clamp(min=0.05)[:, None, None]
