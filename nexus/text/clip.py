"""CLIP's text encoder (arXiv:2103.00020), with its tokenizer; `nexus.text.clip_prompts` reads longer prompts with it.

It comes from `transformers`, as those of `nexus.text.encoders` do.
Axes: B batch, P width of the summary.
"""

from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn

from nexus.text.encoders import read_config, read_encoder, read_tokenizer


class ClipText:
    """A tokenizer and an encoder; `window` tokens at once, a start and an end among them, is all it can read."""

    def __init__(self, encoder: nn.Module, tokenizer):
        self.encoder = encoder.eval().requires_grad_(False)
        self.tokenizer = tokenizer
        self.window: int = min(tokenizer.model_max_length, encoder.config.max_position_embeddings)  # type: ignore

    def to(self, *args, **kwargs) -> "ClipText":
        self.encoder.to(*args, **kwargs)
        return self

    @torch.no_grad()
    def summaries(self, prompts: list[str]) -> Float[Tensor, "B P"]:
        """One vector for each prompt, of as much of it as fits a window."""
        rows = []
        for prompt in prompts:
            words = self.tokenizer(prompt, add_special_tokens=False, verbose=False).input_ids[: self.window - 2]
            row = [self.tokenizer.bos_token_id, *words, self.tokenizer.eos_token_id]
            rows.append(row + [self.tokenizer.pad_token_id] * (self.window - len(row)))
        answer = self.encoder(input_ids=torch.tensor(rows, device=next(self.encoder.parameters()).device))
        return answer.text_embeds if hasattr(answer, "text_embeds") else answer.pooler_output


def clip_from_folder(folder: str | Path, tokenizer: str | Path) -> ClipText:
    """CLIP from `transformers` folders; whether it projects its summary (SD3's do, FLUX' does not) its config says."""
    from transformers import CLIPTextModel, CLIPTextModelWithProjection

    config = read_config(folder)
    whole = any((Path(folder) / name).is_file() for name in ("model.safetensors", "pytorch_model.bin"))
    variant = None if whole or not (Path(folder) / "model.fp16.safetensors").is_file() else "fp16"
    projects = "CLIPTextModelWithProjection" in (config.architectures or ())
    encoder = read_encoder(CLIPTextModelWithProjection if projects else CLIPTextModel, folder, variant=variant)
    return ClipText(encoder, read_tokenizer(tokenizer))
