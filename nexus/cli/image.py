"""`nexus image`: pictures from a description, from another picture, or into a part of one."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nexus.cli.adapters import Added
from nexus.cli.clip import STILLS, Maker
from nexus.cli.options import Cache, Device, Json, Model, Output, Prompt, Seed
from nexus.cli.video import read_size

if TYPE_CHECKING:
    from nexus.media.image import Image

IMAGE = Maker(
    doing="painting",
    kinds=(
        *("PixArt", "DiT", "StableDiffusion", "StableDiffusion3", "Flux"),
        *("ConditionalDiffusion", "ConsistencyModel", "FlowMatching", "RectifiedFlow", "LCM"),  # of classes
    ),
    default_output="image.png",
    suffixes=STILLS,
    options={
        "negative_prompt": "negative",
        "height": "size",
        "width": "size",
        "guidance_scale": "guidance",
        "adapters": "control",
    },
)


def image(
    prompt: Prompt,
    negative: Annotated[str | None, typer.Option("--negative", help="What it should not show.")] = None,
    size: Annotated[str | None, typer.Option("--size", help="WIDTHxHEIGHT in pixels; else the model's own.")] = None,
    steps: Annotated[
        int | None, typer.Option("--steps", min=1, max=1000, help="Denoising steps: more are finer, slower.")
    ] = None,
    guidance: Annotated[
        float | None,
        typer.Option("--guidance", min=0.0, max=100.0, help="Guidance scale: how closely to follow; 1 is none."),
    ] = None,
    guidance_rescale: Annotated[
        float | None,
        typer.Option(
            "--guidance-rescale", min=0.0, max=1.0, help="Against over-exposure by guidance: 0 does nothing, 0.7 much."
        ),
    ] = None,
    solver: Annotated[str | None, typer.Option("--solver", help="Such as dpmpp-2m or euler.")] = None,
    cache: Cache = None,
    start: Annotated[Path | None, typer.Option("--image", help="A picture to start from.")] = None,
    mask: Annotated[Path | None, typer.Option("--mask", help="White where --image is painted anew.")] = None,
    strength: Annotated[
        float | None, typer.Option("--strength", min=0.0, max=1.0, help="How much of --image to change.")
    ] = None,
    extend: Annotated[
        str | None, typer.Option("--extend", help="Go on beyond --image by pixels LEFT,TOP,RIGHT,BOTTOM: 64,0,64,0.")
    ] = None,
    lora: Annotated[list[str] | None, typer.Option("--lora", help="A LoRA's file, as FILE or FILE:WEIGHT.")] = None,
    control: Annotated[
        list[str] | None,
        typer.Option("--control", help="A picture of depth, a pose, edges: PICTURE or PICTURE:WEIGHT."),
    ] = None,
    controlnet: Annotated[
        list[str] | None, typer.Option("--controlnet", help="Which reads it; else the one in the model's folder.")
    ] = None,
    control_mode: Annotated[
        list[str] | None,
        typer.Option("--control-mode", help="What it shows, for a union: canny, tile, depth, blur, pose, gray …"),
    ] = None,
    like: Annotated[
        list[str] | None, typer.Option("--like", help="A picture as a prompt: PICTURE or PICTURE:WEIGHT.")
    ] = None,
    ip_adapter: Annotated[list[str] | None, typer.Option("--ip-adapter", help="Which reads that.")] = None,
    model: Model = "nexus/image-tiny",
    seed: Seed = None,
    device: Device = "auto",
    output: Output = None,
    as_json: Json = False,
) -> None:
    """Paints what PROMPT describes, or the class of that number. Writes image.png unless -o says otherwise.

    nexus image "a red boat on the sea" -o boat.png

    nexus image "…" --model FOLDER --steps 20 --lora style.safetensors:0.8 --control depth.png --controlnet FOLDER
    """
    from nexus.media.image import Image

    if start is None and (mask is not None or strength is not None):
        raise ValueError(f"--{'mask' if mask is not None else 'strength'} says how --image changes; give --image too")
    height, width = (None, None) if size is None else read_size(size)
    begun, painted = (None if path is None else Image.load(path) for path in (start, mask))
    if extend is not None:
        begun, painted = beyond(begun, painted, extend)
    if begun is not None and painted is not None:  # before a model is loaded
        from nexus.models.diffusion.request import check_mask

        check_mask(begun, painted, (height or begun.height, width or begun.width))
    picture = IMAGE.clip(prompt, output, model, seed, device, as_json, stream=False)
    added = Added(
        loras=lora or (), controls=control or (), controlnets=controlnet or (),
        control_modes=control_mode or (), likes=like or (), ip_adapters=ip_adapter or (),
    )  # fmt: skip
    picture.make(
        added.onto(model),
        added.facts(),
        negative_prompt=negative,
        height=height,
        width=width,
        steps=steps,
        guidance_scale=guidance,
        guidance_rescale=guidance_rescale,
        solver=solver,
        cache=cache,
        image=begun,
        mask=painted,
        strength=strength,
    )


def beyond(image: "Image | None", mask: "Image | None", sides: str) -> "tuple[Image, Image]":
    """A picture on a larger canvas and the mask of what is new.

    Raises:
        ValueError: no picture, a mask besides, or sides that are not four numbers or can't be.
    """
    from nexus.models.diffusion.outpainting import extended

    if image is None or mask is not None:
        raise ValueError("--extend goes on beyond --image, and says itself where: give --image, and no --mask")
    parts = sides.split(",")
    if len(parts) != 4 or not all(part.strip().isdigit() for part in parts):
        raise ValueError(f"--extend {sides!r} is not LEFT,TOP,RIGHT,BOTTOM in pixels, such as 64,0,64,0")
    left, top, right, bottom = map(int, parts)
    return extended(image, left=left, top=top, right=right, bottom=bottom)
