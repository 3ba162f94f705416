"""What adapters add: to `nexus/image-tiny` a LoRA, to a Stable Diffusion of digits a ControlNet and an IP-Adapter.

All are taught here, within a minute or two each.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from nexus.adapters.control import Control
from nexus.adapters.controlnet import ControlNet, ControlNetConfig
from nexus.adapters.ip_adapter import IPAdapter, PicturePrompt, Projection
from nexus.adapters.lora import LoRA, LoRAConfig, LoRAStack, attach
from nexus.data.digits import digits
from nexus.media.image import Image
from nexus.models.diffusion.pixart_alpha import PixArt
from nexus.models.diffusion.stable_diffusion import StableDiffusion
from nexus.process.diffusion import Network, diffusion_loss
from pictures.plots import Line, lines
from pictures.registry import Picture
from pictures.small import SHOWN, SIDE, begun, digits_by_text, learn, many, words
from pictures.stills import PROMPTS

Batch = dict[str, Tensor]
N = 14  # held-out digits that are shown
CELLS = 4  # a side, of what an adapter sees of a digit


def cells(image: Tensor) -> Tensor:
    """Mean ink of CELLS x CELLS parts of each picture, in [0, 1]."""
    return F.adaptive_avg_pool2d(image, CELLS) / 2 + 0.5


def hints(image: Tensor) -> Tensor:
    """The same as large as the pictures, with three channels."""
    return F.interpolate(cells(image), (SIDE, SIDE)).expand(-1, 3, -1, -1)


def controlnet(steps: int = 1500) -> Image:
    """Digits as text asks, where a ControlNet says that ink goes."""
    model = digits_by_text(steps)
    control = begun(lambda: ControlNet(ControlNetConfig(network=model.config.network, hint_dims=(16,))))
    control.load_state_dict(model.network.state_dict(), strict=False)  # it begins as the U-Net's own way down

    def loss(batch: Batch, rng: torch.Generator) -> Tensor:
        text, seen = words(batch, rng), control.see(hints(batch["image"]))

        def network(x_t: Tensor, step: Tensor) -> Tensor:
            return model.network(x_t, step, text, residuals=control(x_t, step, text, seen))

        return noised(model, network, batch["image"], rng)

    learn(control, loss, steps)
    shown, asked, other = held_out()
    seen = [Image.from_tensor(2 * hint - 1) for hint in hints(shown)]
    rows = [
        Line("held-out digits", [Image.from_tensor(picture) for picture in shown]),
        Line("their hints", seen),
        Line("numbers, no hint", many(model, asked)),
        Line("hint at weight 0.5", many(model, asked, adapters=[Control(control, seen, weight=0.5)])),
        Line("hint at weight 1", many(model, asked, adapters=[Control(control, seen)])),
        Line("other numbers", many(model, other, adapters=[Control(control, seen)])),
    ]
    return lines(rows, side=SHOWN)


class Eye:
    """What stands for a vision encoder: it sees the mean ink of 16 parts of a digit."""

    def __call__(self, pictures: list[Image], *, hidden: bool) -> Tensor:
        return cells(torch.stack([picture.tensor().mean(0, keepdim=True) for picture in pictures])).flatten(1)

    def nothing(self, *, hidden: bool) -> Tensor:
        return torch.zeros(1, CELLS**2)


def ip_adapter(steps: int = 1500) -> Image:
    """Digits like a picture, by tokens beside the text's."""
    model = digits_by_text(steps)
    shapes = [
        (attention.kv.in_features, attention.kv.out_features // 2) for attention in model.network.cross_attentions()
    ]
    adapter = begun(lambda: IPAdapter(Projection(CELLS**2, model.config.network.text_dim), shapes))
    adapter.encoder = Eye()

    def loss(batch: Batch, rng: torch.Generator) -> Tensor:
        text = words(batch, rng)
        unseen = (torch.rand(len(text), 1, generator=rng) < 0.1).float()
        tokens = adapter.project(cells(batch["image"]).flatten(1) * (1 - unseen))
        told = adapter.tell(model.network.hear(text), tokens)
        return noised(model, lambda x_t, step: model.network(x_t, step, told), batch["image"], rng)

    learn(adapter, loss, steps)
    shown, asked, other = held_out()
    seen = [Image.from_tensor(picture) for picture in shown]
    rows = [
        Line("held-out digits", seen),
        Line("numbers alone", many(model, asked)),
        Line("like it, weight 0.5", many(model, asked, adapters=[PicturePrompt(adapter, seen, weight=0.5)])),
        Line("weight 1", many(model, asked, adapters=[PicturePrompt(adapter, seen)])),
        Line("no number, weight 1", many(model, [""] * N, adapters=[PicturePrompt(adapter, seen)])),
        Line("other numbers", many(model, other, adapters=[PicturePrompt(adapter, seen)])),
    ]
    return lines(rows, side=SHOWN)


def lora(model: PixArt, steps: int = 150) -> Image:
    """A style, blue and in negative, learnt from 24 pictures, at several weights."""
    before = many(model, list(PROMPTS))
    taught = [prompt for prompt in PROMPTS for _ in range(4)]
    style = torch.stack([blueprint(picture).tensor() for picture in many(model, taught)])
    with torch.no_grad():
        latents = model.image_vae.scaled(model.image_vae.encode(style).mean)
        text, mask = model.text_encoder([prompt.lower() for prompt in taught])
    change = LoRA.fresh(
        model.network, LoRAConfig(rank=4, alpha=4, targets=("attn", "ff")), torch.Generator().manual_seed(0)
    )
    optimizer, rng = torch.optim.AdamW(change.parameters(), lr=3e-3), torch.Generator().manual_seed(0)
    with attach(model.network, change):
        for _ in range(steps):
            chosen = torch.randperm(len(taught), generator=rng)[:8]
            batch = {"latents": latents[chosen], "text": text[chosen], "text_mask": mask[chosen]}
            optimizer.zero_grad()
            model.loss(batch, rng)["loss"].backward()
            optimizer.step()
    stack, rows = LoRAStack(model.network), [Line("without", before)]
    for weight in (0.5, 1.0, -0.5):
        stack.set([(change, weight)])
        rows.append(Line(f"weight {weight:g}", many(model, list(PROMPTS))))
    stack.set([])
    assert many(model, list(PROMPTS)) == before  # taken out again, to the bit
    return lines(rows, side=96, words_width=90)


def blueprint(picture: Image) -> Image:
    grey = -picture.tensor().mean(0)
    return Image.from_tensor(torch.stack([0.7 * grey - 0.3, 0.8 * grey, 0.6 * grey + 0.4]))


def held_out() -> tuple[Tensor, list[str], list[str]]:
    """Digits, their numbers, and other numbers."""
    valid = digits("valid", SIDE)
    labels = valid.label[:N].tolist()
    return valid.image[:N], [str(label) for label in labels], [str((label + 3) % 10) for label in labels]


def noised(model: StableDiffusion, network: Network, image: Tensor, rng: torch.Generator) -> Tensor:
    """The model's loss with another network."""
    schedule = model.config.levels.noise_schedule
    step = torch.randint(schedule.n_steps, (len(image),), generator=rng)
    noise = torch.randn(image.shape, generator=rng)
    return diffusion_loss(network, schedule, image, noise, step, model.config.prediction).mean()


PICTURES = {
    "lora": Picture(draw=lora, models=("nexus/image-tiny",), brief={"steps": 80}),
    "controlnet": Picture(draw=controlnet, brief={"steps": 500}),
    "ip-adapter": Picture(draw=ip_adapter, brief={"steps": 500}),
}
