"""What models that paint by latents are asked for, checked in one place, all of it before work starts.

A model says in its `limits` what it can do; `Limits.words` (or, for what is no text, `Limits.pictures`) makes of
`generate`'s arguments an `Asked`, in which every default is filled in and which can be met.

Axes: H height, W width of pictures, in pixels.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from nexus.media.image import Image
from nexus.process.levels import Path
from nexus.process.named import NamedSolver, named
from nexus.process.noise import generators
from nexus.process.step_cache import check_cache

Guidance = Literal["steered", "told", "learnt"]
Prompt = str | Sequence[str]
MOST_GUIDANCE = 100


@runtime_checkable
class Own(Protocol):
    """What a model's config says where a request says nothing."""

    @property
    def size(self) -> tuple[int, int]: ...
    @property
    def steps(self) -> int: ...
    @property
    def guidance_scale(self) -> float: ...
    @property
    def solver(self) -> str: ...


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A request that can be met."""

    size: tuple[int, int]  # height and width in pixels, as painted
    steps: int
    solver: str
    scale: float | int  # of guidance
    guided: bool  # by a second half of the batch, of what is not wanted
    cache: float | int  # how far the levels may move between two answers of the network
    rngs: list[torch.Generator]  # one a picture
    alone: bool  # one picture is wanted, no list of one
    prompts: Sequence[str] = ()
    negative: Sequence[str] | None = None  # as many, where something was said
    image: Image | None = None
    mask: Image | None = None
    strength: float | int = 1.0  # the share of the steps that is walked
    cut: tuple[int, int] | None = None  # what size the painted picture is scaled and cut to, if to another

    @property
    def n(self) -> int:
        return len(self.rngs)

    @property
    def solve(self) -> NamedSolver:
        return named(self.solver)

    @property
    def halves(self) -> list[str]:
        """The prompts; with guidance then what is not wanted, of which an empty prompt is nothing in particular."""
        negative = [""] * self.n if self.negative is None else self.negative
        return [*self.prompts, *(negative if self.guided else ())]

    def rest_of(self, path: Path) -> Path:
        """The last `strength` of a whole path, rounded up to steps."""
        steps = len(path) - 1
        return path[int(max(steps - steps * self.strength, 0)) :]

    def given(self, pictures: list[Image]) -> Image | list[Image]:
        return pictures[0] if self.alone else pictures


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a model can be asked for.

    `guidance` is "steered" where a second half of the batch is turned away from, "told" where the network is told the
    scale, "learnt" where it needs none any more.
    """

    own: Own
    multiple: int  # of width and height
    most_steps: int
    solvers: tuple[str, ...] = ("euler", "euler-ancestral", "heun", "dpmpp-2m", "dpmpp-2m-sde", "unipc")
    guidance: Guidance = "steered"
    longest: int = 16_384  # side in pixels
    wordless: bool = False  # an empty prompt is fine: it asks for nothing in particular
    inpaints: bool = False  # the network sees mask and kept picture, and can't do without

    def words(
        self,
        prompt: Prompt,
        negative_prompt: Prompt | None = None,
        *,
        height: int | None = None,
        width: int | None = None,
        steps: int | None = None,
        guidance_scale: float | int | None = None,
        solver: str | None = None,
        cache: float | int = 0.0,
        image: Image | None = None,
        mask: Image | None = None,
        strength: float | int | None = None,
        seed: int | None = None,
    ) -> Asked:
        """One picture a prompt, perhaps out of another picture.

        Raises:
            ValueError: the first thing that can't be, what can, and the nearest that does.
        """
        prompts = listed(prompt, self.wordless)
        like = self.own.size if image is None else (check_image("image", image).height, image.width)
        asked = self.pictures(
            len(prompts),
            alone=isinstance(prompt, str),
            height=like[0] if height is None else height,
            width=like[1] if width is None else width,
            steps=steps,
            guidance_scale=guidance_scale,
            solver=solver,
            cache=cache,
            seed=seed,
        )
        check_mask(image, mask, asked.size, self.inpaints)
        return replace(
            asked,
            prompts=prompts,
            negative=self._negative(negative_prompt, asked),
            image=image,
            mask=mask,
            strength=strength_of(strength, image, mask),
        )

    def pictures(
        self,
        n: int,
        *,
        alone: bool = False,
        height: int | None = None,
        width: int | None = None,
        steps: int | None = None,
        guidance_scale: float | int | None = None,
        solver: str | None = None,
        cache: float | int = 0.0,
        seed: int | None = None,
    ) -> Asked:
        """n pictures out of noise."""
        if n < 1:
            raise ValueError("ask for one picture at least, got an empty list")
        own = self.own
        size = (own.size[0] if height is None else height, own.size[1] if width is None else width)
        solver = own.solver if solver is None else solver
        named(solver, self.solvers)
        scale = self._scale(guidance_scale)
        steps = self._steps(own.steps if steps is None else steps)
        check_cache(cache, steps, solver)
        return Asked(
            size=self._size(size),
            steps=steps,
            solver=solver,
            scale=scale,
            guided=self.guidance == "steered" and scale != 1,
            cache=cache,
            rngs=generators(seed_of(seed), n),
            alone=alone,
        )

    def _size(self, size: tuple[int, int]) -> tuple[int, int]:
        multiple, most = self.multiple, self.longest
        for side in size:
            check_whole_number("width and height", side)
        near = [min(max(round(side / multiple), 1) * multiple, most) for side in size]
        nearest = f"got {size[1]}x{size[0]}; nearest is {near[1]}x{near[0]}"
        if any(side < multiple or side % multiple for side in size):
            raise ValueError(f"width and height must be in multiples of {multiple}, {nearest}")
        if max(size) > most:
            raise ValueError(f"width and height must be at most {most}, {nearest}")
        return size

    def _steps(self, steps: int) -> int:
        check_whole_number("steps", steps)
        if not 1 <= steps <= self.most_steps:
            raise ValueError(f"steps must be from 1 to {self.most_steps}, got {steps}")
        return steps

    def _scale(self, scale: float | int | None) -> float | int:
        if self.guidance == "learnt":
            if scale not in (None, 1):
                raise ValueError(f"guidance is learnt into this distilled model: leave guidance_scale out, got {scale}")
            return 1
        scale = self.own.guidance_scale if scale is None else scale
        if not math.isfinite(scale) or not 0 <= scale <= MOST_GUIDANCE:
            raise ValueError(
                f"guidance_scale must be a number from 0 to {MOST_GUIDANCE}, such as {self.own.guidance_scale:g}, "
                f"got {scale:g}"
            )
        return scale

    def _negative(self, negative: Prompt | None, asked: Asked) -> Sequence[str] | None:
        if not asked.guided and negative is not None and any(negative):
            raise ValueError(
                "negative_prompt would not be heard: guidance_scale 1 is no guidance; raise it, or leave "
                "negative_prompt out" if self.guidance == "steered" else
                "this model is distilled: it makes pictures in one pass, in which nothing turns away from a "
                "negative_prompt; say in the prompt what should be there instead"
            )  # fmt: skip
        if negative is None or isinstance(negative, str):
            return None if negative is None else [negative] * asked.n
        if len(negative) != asked.n:
            raise ValueError(
                f"negative_prompt must be one text or {asked.n} of them, one a prompt, got {len(negative)}"
            )
        return list(negative)


def check_whole(model: nn.Module, *parts: str) -> None:
    """Raises ValueError where a model's network was loaded alone, without the parts that pictures need."""
    missing = [part for part in parts if not hasattr(model, part)]
    if missing:
        raise ValueError(
            f"this {type(model).__name__} is a network without {' and '.join(missing)}: load a pipeline's whole "
            f"folder, lay the file into one, or set `model.{missing[0]}` to that of one"
        )


def listed(prompt: Any, wordless: bool = False) -> list[str]:
    """The prompts; of no words only where a model can do without."""
    prompts = [prompt] if isinstance(prompt, str) or not isinstance(prompt, Sequence) else list(prompt)
    if odd := [words for words in prompts if not isinstance(words, str)]:
        raise ValueError(f"a prompt must be a text, or a list of them, got a {type(odd[0]).__name__}")
    if not wordless and not all(words.strip() for words in prompts):
        raise ValueError("the prompt is empty: say what the picture shows, such as 'a red boat on the sea'")
    return prompts


def strength_of(strength: float | int | None, image: Image | None, mask: Image | None) -> float | int:
    """How much of a picture to start from is changed; where it is masked all of that, unless it is said."""
    if image is None:
        if strength is not None:
            raise ValueError("strength says how much of image is changed; give image too")
        return 1.0
    strength = (0.6 if mask is None else 1.0) if strength is None else strength
    if not 0 < strength <= 1:
        raise ValueError(f"strength must be above 0 and at most 1 (1 forgets the picture), got {strength:g}")
    return strength


def check_rescale(share: float | int, asked: Asked) -> None:
    """Raises ValueError for a share of guidance that is none, or where there is no guidance."""
    if not 0 <= share <= 1:
        raise ValueError(f"guidance_rescale must be from 0 to 1, got {share:g}")
    if share and not asked.guided:
        raise ValueError("guidance_rescale takes back what guidance widens; there is no guidance here, so leave it out")


def seed_of(seed: int | None) -> int | None:
    if seed is not None:
        check_whole_number("seed", seed)
        if not 0 <= seed < 2**63:
            raise ValueError(f"seed must be from 0 to 2**63 - 1, got {seed}")
    return seed


def check_whole_number(name: str, value: Any) -> None:
    if not hasattr(value, "__index__") or isinstance(value, bool):
        raise ValueError(f"{name} must be a whole number, got {value!r}")


def check_image(name: str, image: Any) -> Image:
    if not isinstance(image, Image):
        raise ValueError(f"{name} must be a nexus Image, got a {type(image).__name__}; Image.load reads a file")
    return image


def check_mask(image: Image | None, mask: Image | None, size: tuple[int, int], must: bool = False) -> None:
    """Raises ValueError for a mask of another size or of nothing, or where one of the two is missing.

    Args:
        must: the model was trained to inpaint and can't do without them.
    """
    if must and (image is None or mask is None):
        missing = " and ".join(name for name, given in (("image", image), ("mask", mask)) if given is None)
        raise ValueError(f"this model was trained to inpaint: give {missing} too (a white mask paints everything)")
    if mask is None:
        return
    if image is None:
        raise ValueError("a mask says where image is painted anew; give image too")
    if (check_image("mask", mask).height, mask.width) != (image.height, image.width):
        raise ValueError(
            f"the mask must be of the image's size, {image.width}x{image.height}, got {mask.width}x{mask.height}"
        )
    if (image.height, image.width) != size:
        raise ValueError(
            f"with a mask the picture keeps its size, {image.width}x{image.height}; got {size[1]}x{size[0]}"
        )
    if not bool(mask_of(mask).any()):
        raise ValueError("the mask is black everywhere, so nothing would be painted; white is painted anew")


def mask_of(mask: Image) -> Float[Tensor, "1 H W"]:
    """1 where the mask is white."""
    return (mask.over_white().tensor().mean(0, keepdim=True) >= 0).float()
