"""What Stable Diffusion reads of a prompt: the states of one CLIP (1.5, 2.1) or of two side by side (XL).

Axes: B batch, S tokens, D width of the states of all encoders, P width of the summary.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from nexus.text.clip import ClipText
from nexus.text.prompts import Weighted, parse, windows

PromptStates = tuple[Float[Tensor, "B S D"], Float[Tensor, "B P"]]


class ClipPrompts:
    """Reads prompts of any length, in windows one after the other, and weighted words (`nexus.text.prompts`).

    Args:
        penultimate: the states before the last layer (XL), else the last ones after their norm.
    """

    def __init__(self, clips: tuple[ClipText, ...], *, penultimate: bool):
        self.clips, self.penultimate = clips, penultimate

    def to(self, *args, **kwargs) -> "ClipPrompts":
        for clip in self.clips:
            clip.to(*args, **kwargs)
        return self

    @torch.no_grad()
    def __call__(self, prompts: list[str]) -> PromptStates:
        """States of all encoders side by side, and the last one's summary."""
        read = self.read(prompts)
        return torch.cat([states for states, _ in read], dim=-1), read[-1][1]

    @torch.no_grad()
    def read(self, prompts: list[str]) -> list[PromptStates]:
        """Each encoder's states, as long as the longest prompt's windows; and its summaries, of the first window."""
        cut = [[self.windows(clip, prompt) for prompt in prompts] for clip in self.clips]
        n = max(len(parts) for each in cut for parts in each)
        read = [
            [self._read(clip, parts + [[]] * (n - len(parts))) for parts in each]
            for clip, each in zip(self.clips, cut, strict=True)
        ]
        return [(torch.stack([s for s, _ in each]), torch.stack([s for _, s in each])) for each in read]

    def windows(self, clip: ClipText, prompt: str) -> list[Weighted]:
        """The prompt's tokens with their weights, in windows that leave room for a start and an end."""
        words = []
        for text, weight in parse(prompt):
            for word in text.split():
                ids = clip.tokenizer(word, add_special_tokens=False, verbose=False).input_ids
                words.append([(token, weight) for token in ids])
        return windows(words, clip.window - 2)

    def _read(self, clip: ClipText, parts: list[Weighted]) -> tuple[Float[Tensor, "S D"], Float[Tensor, " P"]]:
        """States of all windows and the first one's summary.

        A word's states go so much further from those of an empty prompt at its place as it counts more.
        """
        states, summary = self._states(clip, [[token for token, _ in part] for part in parts])
        weights = torch.ones(states.shape[:2])
        for i, part in enumerate(parts):
            weights[i, 1 : len(part) + 1] = torch.tensor([weight for _, weight in part])
        if not bool((weights == 1).all()):
            empty, _ = self._states(clip, [[]])
            states = empty + weights[..., None].to(states) * (states - empty)
        return states.flatten(0, 1), summary[0]

    def _states(self, clip: ClipText, parts: list[list[int]]) -> PromptStates:
        """Of windows, each with a start and an end of its own, and padded."""
        start, end, pad = clip.tokenizer.bos_token_id, clip.tokenizer.eos_token_id, clip.tokenizer.pad_token_id
        rows = [[start, *part, end] + [pad] * (clip.window - len(part) - 2) for part in parts]
        ids = torch.tensor(rows, device=next(clip.encoder.parameters()).device)
        answer = clip.encoder(input_ids=ids, output_hidden_states=self.penultimate)
        summary = answer.text_embeds if hasattr(answer, "text_embeds") else answer.pooler_output
        return answer.hidden_states[-2] if self.penultimate else answer.last_hidden_state, summary
