"""What SD3 and FLUX read of a prompt: states of tokens for their attention, and one vector that modulates their blocks.

Axes: B batch, S text tokens, E width of the states, P width of the summary.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from nexus.text.clip import ClipText
from nexus.text.clip_prompts import ClipPrompts
from nexus.text.encoders import TextEncoder
from nexus.text.prompts import parse

PromptStates = tuple[Float[Tensor, "B S E"], Float[Tensor, "B P"]]


class SD3Prompts:
    """Two CLIPs side by side, padded to T5's width, then T5 (arXiv:2403.03206, section 4); or zeros, where T5 is not.

    Both CLIPs' summaries are joined. They read long prompts in windows, and weigh words (`nexus.text.prompts`). T5
    reads the words as they are, and padding as it reads words; prompts too long for it are refused.
    """

    def __init__(self, clips: tuple[ClipText, ClipText], t5: TextEncoder | None, *, dim: int, n_tokens: int = 256):
        self.clips, self.t5, self.dim, self.n_tokens = ClipPrompts(clips, penultimate=True), t5, dim, n_tokens

    def to(self, *args, **kwargs) -> "SD3Prompts":
        self.clips.to(*args, **kwargs)
        if self.t5 is not None:
            self.t5.to(*args, **kwargs)
        return self

    def __call__(self, prompts: list[str]) -> PromptStates:
        plain = ["".join(text for text, _ in parse(prompt)) for prompt in prompts]
        if self.t5 is not None:
            for prompt in plain:
                self.t5.check(prompt)  # before the others read it
        read = self.clips.read(prompts)
        states = torch.cat([states for states, _ in read], dim=-1)
        states = F.pad(states, (0, self.dim - states.shape[-1]))
        if self.t5 is None:
            long = states.new_zeros(len(prompts), self.n_tokens, self.dim)
        else:
            long = self.t5(plain)[0].to(states)
        return torch.cat([states, long], dim=1), torch.cat([summary for _, summary in read], dim=-1)


class FluxPrompts:
    """T5's states, which are of the whole prompt, and CLIP's summary, of its first 75 tokens. No word is weighed."""

    def __init__(self, clip: ClipText, t5: TextEncoder):
        self.clip, self.t5 = clip, t5

    def to(self, *args, **kwargs) -> "FluxPrompts":
        self.clip.to(*args, **kwargs)
        self.t5.to(*args, **kwargs)
        return self

    def __call__(self, prompts: list[str]) -> PromptStates:
        return self.t5(prompts)[0], self.clip.summaries(prompts)
