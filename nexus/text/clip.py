"""CLIP's text encoder (arXiv:2103.00020) as SD3 and FLUX read it: states of tokens, and one vector for the prompt.

It comes from `transformers`, as those of `nexus.text.encoders` do.
Axes: B batch, S tokens, D width, P width of the summary.
"""

from pathlib import Path

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

ClipStates = tuple[Float[Tensor, "B S D"], Float[Tensor, "B P"]]


class ClipText:
    """A tokenizer and an encoder; prompts longer than CLIP reads are read in windows, one after the other.

    The summary is that of the first window, where the field has it from.
    """

    def __init__(self, encoder: nn.Module, tokenizer):
        self.encoder = encoder.eval().requires_grad_(False)
        self.tokenizer = tokenizer
        self.window: int = min(tokenizer.model_max_length, encoder.config.max_position_embeddings)  # type: ignore

    def to(self, *args, **kwargs) -> "ClipText":
        self.encoder.to(*args, **kwargs)
        return self

    def windows(self, prompt: str) -> int:
        """How many windows a prompt fills."""
        return max(-(-len(self._words(prompt)) // (self.window - 2)), 1)

    @torch.no_grad()
    def __call__(self, prompts: list[str], n_windows: int | None = None) -> ClipStates:
        """The states before the last layer [B, S, D], S as long as the longest prompt's windows, and summaries."""
        n = max(self.windows(prompt) for prompt in prompts) if n_windows is None else n_windows
        ids = torch.stack([self.ids(prompt, n) for prompt in prompts])  # [B, windows, S]
        answer = self.encoder(
            input_ids=ids.flatten(0, 1).to(next(self.encoder.parameters()).device), output_hidden_states=True
        )
        summaries = answer.text_embeds if hasattr(answer, "text_embeds") else answer.pooler_output
        states = answer.hidden_states[-2].unflatten(0, (len(prompts), n)).flatten(1, 2)
        return states, summaries.unflatten(0, (len(prompts), n))[:, 0]

    def ids(self, prompt: str, n_windows: int) -> Int[Tensor, "windows S"]:
        """Token ids, each window between a start and an end of its own, and padded."""
        words, room, rows = self._words(prompt), self.window - 2, []
        for i in range(n_windows):
            part = words[i * room : (i + 1) * room]
            row = [self.tokenizer.bos_token_id, *part, self.tokenizer.eos_token_id]
            rows.append(row + [self.tokenizer.pad_token_id] * (self.window - len(row)))
        return torch.tensor(rows)

    def _words(self, prompt: str) -> list[int]:
        """Ids without a start and an end; the tokenizer's warning of their number is for those who cut."""
        return self.tokenizer(prompt, add_special_tokens=False, verbose=False).input_ids


def clip_from_folder(folder: str | Path, tokenizer: str | Path) -> ClipText:
    """CLIP from `transformers` folders; whether it projects its summary (SD3's do, FLUX' does not) its config says."""
    from transformers import AutoConfig, AutoTokenizer, CLIPTextModel, CLIPTextModelWithProjection

    from nexus.text.encoders import without_progress_bars

    config = AutoConfig.from_pretrained(folder, local_files_only=True)
    projects = "CLIPTextModelWithProjection" in (config.architectures or ())
    with without_progress_bars():
        encoder = (CLIPTextModelWithProjection if projects else CLIPTextModel).from_pretrained(
            folder, local_files_only=True, dtype=torch.float32
        )
    return ClipText(encoder, AutoTokenizer.from_pretrained(tokenizer, local_files_only=True))
