"""What systems that diffuse latents do alike around their networks: requests checked, the walk, pictures.

Axes: B batch, D latent channels, H height, W width.
"""

from collections.abc import Callable, Iterable, Sequence

from jaxtyping import Float
from torch import Tensor, nn

from nexus.codecs.banded import decode_large
from nexus.codecs.image_vae import ImageVAE
from nexus.codecs.stills import Stills
from nexus.media.image import Image
from nexus.process.levels import Path

Progress = Callable[[int, int], None]
Codec = ImageVAE | Stills


def check_whole(model: nn.Module, *parts: str) -> None:
    """Raises ValueError where a model's network was loaded alone, without the parts that pictures need."""
    missing = [part for part in parts if not hasattr(model, part)]
    if missing:
        raise ValueError(
            f"this {type(model).__name__} is a network without {' and '.join(missing)}: load a pipeline's whole "
            f"folder, or set `model.{missing[0]}` to that of one"
        )


def listed(prompt: str | Sequence[str]) -> list[str]:
    """The prompts, of which none may be empty."""
    prompts = [prompt] if isinstance(prompt, str) else list(prompt)
    if not prompts or not all(p.strip() for p in prompts):
        raise ValueError("the prompt is empty: say what the picture shows, such as 'a red boat on the sea'")
    return prompts


def negatives(negative_prompt: str | Sequence[str] | None, n: int) -> list[str]:
    """What each of n pictures should not show; an empty prompt is nothing in particular."""
    if negative_prompt is None or isinstance(negative_prompt, str):
        return [negative_prompt or ""] * n
    if len(negative_prompt) != n:
        raise ValueError(f"negative_prompt must be one text or {n} of them, one a prompt, got {len(negative_prompt)}")
    return list(negative_prompt)


def size_of(
    height: int | None, width: int | None, image: Image | None, own: tuple[int, int], multiple: int
) -> tuple[int, int]:
    """Height and width as asked for, else those of the picture to start from, else the model's own.

    Raises:
        ValueError: sides that are no multiples of `multiple`; the nearest that are.
    """
    like = own if image is None else (image.height, image.width)
    size = (like[0] if height is None else height, like[1] if width is None else width)
    if any(side < multiple or side % multiple for side in size):
        nearest = [max(round(side / multiple), 1) * multiple for side in size]
        raise ValueError(
            f"width and height must be in multiples of {multiple}, got {size[1]}x{size[0]}; "
            f"nearest is {nearest[1]}x{nearest[0]}"
        )
    return size


def check_steps(n_steps: int, most: int) -> None:
    if not 1 <= n_steps <= most:
        raise ValueError(f"n_steps must be from 1 to {most}, got {n_steps}")


def part_of(path: Path, strength: float | int, image: Image | None) -> Path:
    """The whole path without a picture to start from, else its last `strength`."""
    if image is None:
        return path
    if not 0 < strength <= 1:
        raise ValueError(f"strength must be above 0 and at most 1 (1 forgets the picture), got {strength:g}")
    n_steps = len(path) - 1
    return path[int(max(n_steps - n_steps * strength, 0)) :]


def walked(states: Iterable[Tensor], n_steps: int, progress: Progress | None) -> Tensor:
    """The last state; `progress` hears of each."""
    walk = []
    for done, state in enumerate(states, 1):
        walk = [state]
        if progress is not None:
            progress(done, n_steps)
    return walk[0]


def decoded(vae: Codec, latents: Float[Tensor, "B D H W"]) -> list[Image]:
    """Pictures, made one by one so that memory does not grow with the batch; large ones in bands."""
    return [Image.from_tensor(decode_large(vae, vae.unscaled(latent[None]))[0]) for latent in latents]
