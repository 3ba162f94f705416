"""What tests of class-conditional models share: a tiny network, two pictures to learn, a loop that learns them."""

import torch

from nexus.models.diffusion.unet import UNetConfig

_RAMP = torch.linspace(-0.8, 0.8, 8)[:, None].expand(1, 8, 8)
BARS = (_RAMP, -_RAMP)  # class 0 is dark above and bright below, class 1 the reverse


def network(n_classes):
    return UNetConfig(
        in_channels=1,
        out_channels=1,
        dims=(8, 16),
        n_blocks=1,
        attention=(False, True),
        norm_groups=4,
        n_classes=n_classes,
    )


def bars(n):
    return {"image": torch.stack([BARS[i % 2] for i in range(n)]), "label": torch.arange(n) % 2}


def learnt(model, n_steps, lr=8e-3, **kwargs):
    """The model after some steps on the two pictures, and its losses."""
    optimizer, rng, losses = torch.optim.AdamW(model.parameters(), lr=lr), torch.Generator().manual_seed(0), []
    for _ in range(n_steps):
        loss = model.loss(bars(16), rng, **kwargs)["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return model.eval(), losses
