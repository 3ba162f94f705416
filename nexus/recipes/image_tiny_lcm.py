# The checker takes what nn.Module holds by name for tensors or modules of any kind.
# pyright: reportCallIssue=false
"""`nexus/image-tiny` and its guidance, distilled to two steps by consistency distillation, as a LoRA.

nexus train image-tiny-lcm && nexus image "a red boat on the sea" --model runs/image-tiny-lcm/weights

That an LCM can be learnt as a LoRA is LCM-LoRA's finding (arXiv:2311.05556): a fifth of the model's size.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from nexus.adapters.lora import LoRA, LoRAConfig, attach
from nexus.hub.adapted import save_adapted
from nexus.hub.load import load
from nexus.media.image import Image
from nexus.models.diffusion.pixart_alpha import PixArt
from nexus.process.flow_distillation import consistency_levels, distillation_loss
from nexus.process.guidance import guided_halves
from nexus.recipes.image_tiny import ImageTiny
from nexus.training.recipe import Batch, LoopConfig, Networks, Objective, OptimizerConfig

CHANGES = {"steps": 2, "guidance_scale": 1.0, "solver": "lcm", "distilled": True}


class Student(nn.Module):
    """The teacher's frozen network and the LoRA that learns beside it to say where paths end."""

    def __init__(self, model: PixArt, lora: LoRA):
        super().__init__()
        self.model, self.lora = model.requires_grad_(False), lora
        attach(model.network, lora)


@dataclass(frozen=True, kw_only=True)
class ImageTinyLCM(ImageTiny):
    """Of no text is learnt nothing, as nothing is guided any more."""

    name: str = "image-tiny-lcm"
    loop: LoopConfig = LoopConfig(
        steps=2000, precision="auto", ema_decay=0.99, log_every=20, save_every=100, sample_every=0
    )
    optimizer: OptimizerConfig = OptimizerConfig(lr=1e-3, betas=(0.9, 0.98), warmup_steps=20, weight_decay=0.0)
    teacher: str = "nexus/image-tiny"
    levels: int = 16  # of the teacher's paths
    drop_text: float = 0.0
    rank: int = 32
    targets: tuple[str, ...] = ("blocks", "text_in", "time_embed", "modulation", "proj_out")

    def networks(self) -> dict[str, nn.Module]:
        teacher = self.load_teacher()
        student = PixArt(replace(teacher.config, **CHANGES))
        student.network.load_state_dict(teacher.network.state_dict())
        config = LoRAConfig(rank=self.rank, alpha=self.rank, targets=self.targets)
        return {"model": Student(student, LoRA.fresh(student.network, config))}

    def load_teacher(self) -> PixArt:
        teacher = load(self.teacher, device="cpu")
        if not isinstance(teacher, PixArt) or teacher.config.process != "flow":
            raise ValueError(f"the teacher must be a PixArt of a flow, and {self.teacher} is not")
        return teacher.eval().requires_grad_(False)

    def objectives(self, networks: Networks) -> tuple[Objective, ...]:
        teacher = self.load_teacher()
        null, null_mask = teacher.text_encoder([""])
        levels = consistency_levels(self.levels, teacher.config.shift)

        def loss(networks: Networks, batch: Batch, rng: torch.Generator) -> dict[str, Tensor]:
            student = networks["model"]
            assert isinstance(student, Student)
            latents, text, mask = (batch[name] for name in ("latents", "text", "text_mask"))
            no_text, no_mask = padded(null.to(text), text), padded(null_mask.to(mask), mask)
            both = teacher.to(latents.device).velocity(torch.cat([text, no_text]), torch.cat([mask, no_mask]))
            losses = distillation_loss(
                student.model.velocity(text, mask),
                guided_halves(both, teacher.config.guidance_scale),
                latents,
                torch.randn(latents.shape, generator=rng).to(latents),
                levels,
                torch.randint(self.levels, (len(latents),), generator=rng),
            )
            return {"loss": losses.mean()}

        return (Objective("consistency", ("model",), loss, self.optimizer),)

    def samples(self, model: nn.Module, step: int) -> dict[str, Image]:
        assert isinstance(model, Student)
        return super().samples(model.model, step)

    def export(self, model: nn.Module, folder: Path) -> None:
        assert isinstance(model, Student)
        save_adapted(folder, self.teacher, model.lora, model.model.network, CHANGES)


def padded(one: Tensor, like: Tensor) -> Tensor:
    """A text's states or mask [1, S, ...] for each of a batch [B, T, ...], with zeros up to its length."""
    whole = torch.zeros_like(like)
    n = min(one.shape[1], like.shape[1])
    whole[:, :n] = one[:, :n]
    return whole


recipe = ImageTinyLCM()
