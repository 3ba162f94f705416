"""What SD3 and FLUX read of a prompt: states of tokens for their attention, and one vector that modulates their blocks.

Axes: B batch, S text tokens, E width of the states, P width of the summary.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from nexus.text.clip import ClipText
from nexus.text.encoders import TextEncoder

PromptStates = tuple[Float[Tensor, "B S E"], Float[Tensor, "B P"]]


class SD3Prompts:
    """Two CLIPs side by side, padded to T5's width, then T5 (arXiv:2403.03206, section 4); or zeros, where T5 is not.

    Both CLIPs' summaries are joined. T5 reads padding as it reads words; prompts too long for it are refused.
    """

    def __init__(self, clips: tuple[ClipText, ClipText], t5: TextEncoder | None, *, dim: int, n_tokens: int = 256):
        self.clips, self.t5, self.dim, self.n_tokens = clips, t5, dim, n_tokens

    def to(self, *args, **kwargs) -> "SD3Prompts":
        for encoder in (*self.clips, self.t5):
            if encoder is not None:
                encoder.to(*args, **kwargs)
        return self

    def __call__(self, prompts: list[str]) -> PromptStates:
        n_windows = max(clip.windows(prompt) for clip in self.clips for prompt in prompts)
        read = [clip(prompts, n_windows) for clip in self.clips]
        states = torch.cat([states for states, _ in read], dim=-1)
        states = F.pad(states, (0, self.dim - states.shape[-1]))
        long = states.new_zeros(len(prompts), self.n_tokens, self.dim) if self.t5 is None else self.t5(prompts)[0]
        return torch.cat([states, long.to(states)], dim=1), torch.cat([summary for _, summary in read], dim=-1)


class FluxPrompts:
    """T5's states, and CLIP's summary (of the first 75 tokens; T5 reads all)."""

    def __init__(self, clip: ClipText, t5: TextEncoder):
        self.clip, self.t5 = clip, t5

    def to(self, *args, **kwargs) -> "FluxPrompts":
        self.clip.to(*args, **kwargs)
        self.t5.to(*args, **kwargs)
        return self

    def __call__(self, prompts: list[str]) -> PromptStates:
        _, summary = self.clip(prompts, n_windows=1)
        return self.t5(prompts)[0], summary
