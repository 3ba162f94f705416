# The checker takes what nn.Module holds by name for tensors or modules of any kind.
# pyright: reportCallIssue=false
"""`nexus/image-tiny` and its guidance, distilled to two steps (consistency distillation).

nexus train image-tiny-lcm && nexus image "a red boat on the sea" --model runs/image-tiny-lcm/weights
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from nexus.hub.load import load
from nexus.models.diffusion.pixart_alpha import PixArt
from nexus.process.flow_distillation import consistency_levels, distillation_loss
from nexus.process.guidance import guided_halves
from nexus.recipes.image_tiny import ImageTiny
from nexus.training.recipe import Batch, LoopConfig, Networks, Objective, OptimizerConfig


@dataclass(frozen=True, kw_only=True)
class ImageTinyLCM(ImageTiny):
    """The student starts as its teacher; of no text is learnt nothing, as nothing is guided any more."""

    name: str = "image-tiny-lcm"
    loop: LoopConfig = LoopConfig(
        steps=500, precision="bf16", ema_decay=0.99, log_every=20, save_every=100, sample_every=0
    )
    optimizer: OptimizerConfig = OptimizerConfig(lr=2e-4, betas=(0.9, 0.98), warmup_steps=20, weight_decay=0.0)
    teacher: str = "nexus/image-tiny"
    levels: int = 16  # of the teacher's paths
    drop_text: float = 0.0

    def networks(self) -> dict[str, nn.Module]:
        teacher = self.load_teacher()
        student = PixArt(replace(teacher.config, distilled=True, solver="lcm", guidance_scale=1.0, n_steps=2))
        student.network.load_state_dict(teacher.network.state_dict())
        return {"model": student}

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
            latents, text, mask = (batch[name] for name in ("latents", "text", "text_mask"))
            no_text, no_mask = padded(null.to(text), text), padded(null_mask.to(mask), mask)
            both = teacher.to(latents.device).velocity(torch.cat([text, no_text]), torch.cat([mask, no_mask]))
            losses = distillation_loss(
                networks["model"].velocity(text, mask),
                guided_halves(both, teacher.config.guidance_scale),
                latents,
                torch.randn(latents.shape, generator=rng).to(latents),
                levels,
                torch.randint(self.levels, (len(latents),), generator=rng),
            )
            return {"loss": losses.mean()}

        return (Objective("consistency", ("model",), loss, self.optimizer),)


def padded(one: Tensor, like: Tensor) -> Tensor:
    """A text's states or mask [1, S, ...] for each of a batch [B, T, ...], with zeros up to its length."""
    whole = torch.zeros_like(like)
    n = min(one.shape[1], like.shape[1])
    whole[:, :n] = one[:, :n]
    return whole


recipe = ImageTinyLCM()
