# The checker takes what nn.Module holds by name for tensors or modules of any kind.
# pyright: reportIndexIssue=false
# pyright: reportCallIssue=false
# pyright: reportAttributeAccessIssue=false
# pyright: reportArgumentType=false
# pyright: reportGeneralTypeIssues=false
# pyright: reportOptionalMemberAccess=false
# pyright: reportOptionalSubscript=false
"""An encoder for the CogVideoX autoencoder that is computed, not trained: nested principal components of pixel blocks.

The residual stream of the encoder is linear when every residual branch ends in zero. Each halving of the picture then
keeps the leading principal components of 2 x 2 blocks, and the output the leading ones of 8 x 8 blocks and 4 frames.
Beside the frames' mean, the stream carries their change from one latent frame to the next, so that motion is kept.

Two things in the way are made harmless: group norm, by large constant channels of either sign in each group, which fix
its mean at 0 and its deviation; SiLU, by pairs (f, -f) far on its straight side, whose difference is f again.
"""

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from nexus.codecs.cogvideox_vae import CogVideoXVAE, Encoder

CONSTANT, FAR = 12.0, 8.0  # the constant channels, and how far along SiLU features are moved; features are near 1


@torch.no_grad()
def set_linear_encoder(vae: CogVideoXVAE, video: Float[Tensor, "B 3 F H W"], change: float = 2.0) -> None:
    """Sets the encoder of `vae` to the principal components of `video`; `change` weighs motion against the picture.

    Latents have mean 0; a component of deviation s is scaled to the square root of s, then all together to 1.

    Raises:
        ValueError: the sizes leave no room for the pairs and constants.
    """
    encoder, config = vae.encoder, vae.config
    width, per_group = config.block_out_channels[-1], config.latent_channels // config.norm_num_groups
    if config.latent_channels % config.norm_num_groups or width != 4 * config.latent_channels:
        raise ValueError("the last block must have 4 channels a latent channel, and latent channels divide into groups")
    _silence(encoder)
    _pick_colours(encoder.conv_in.conv, change)
    x = encoder.conv_in(video, {})
    for block in encoder.down_blocks:
        x = block.resnets[0](x, {}) if block is not encoder.down_blocks[-1] else x
        if block.resampler_name is not None:
            down = block.downsamplers[0]
            down.conv.weight.zero_()
            _keep_components(down, x)
            x = down(x)
    _write_latents(encoder, x, per_group)


def _silence(encoder: Encoder) -> None:
    for stage in (*encoder.down_blocks, encoder.mid_block):
        for resnet in stage.resnets:
            nn.init.zeros_(resnet.conv2.conv.weight)
            nn.init.zeros_(resnet.conv2.conv.bias)
            if resnet.conv_shortcut is not None:
                weight = resnet.conv_shortcut.weight
                weight.zero_()
                weight[: weight.shape[1], :, 0, 0, 0] = torch.eye(weight.shape[1])
                resnet.conv_shortcut.bias.zero_()


def _pick_colours(conv: nn.Conv3d, change: float) -> None:
    """Channels 0 to 2 are the frame, 3 to 5 its change from the frame before, which pooling over time sums up."""
    conv.weight.zero_()
    assert conv.bias is not None
    conv.bias.zero_()
    for c in range(3):
        conv.weight[c, c, 2, 1, 1] = 1
        conv.weight[3 + c, c, 2, 1, 1], conv.weight[3 + c, c, 1, 1, 1] = change, -change


def _keep_components(down: nn.Module, x: Tensor) -> None:
    """Sets the strided convolution to the leading principal components of the 2 x 2 blocks that it halves."""
    conv = down.conv
    pooled = x
    if down.compress_time:
        odd = x.shape[2] % 2
        rest = nn.functional.avg_pool3d(x[:, :, odd:], (2, 1, 1), stride=(2, 1, 1))
        pooled = torch.cat([x[:, :, :odd], rest], dim=2)
    blocks = rearrange(pooled, "b c f (h p) (w q) -> (b f h w) (c p q)", p=2, q=2)
    basis, _ = _components(blocks, conv.out_channels)
    conv.weight[: len(basis), :, :2, :2] = rearrange(basis, "k (c p q) -> k c p q", p=2, q=2)
    conv.bias.zero_()
    conv.bias[: len(basis)] = -basis @ blocks.mean(0)


def _components(rows: Tensor, n: int) -> tuple[Tensor, Tensor]:
    """The leading orthonormal directions [n, D] and the deviations along them."""
    values, vectors = torch.linalg.eigh(torch.cov(rows.T.double()))
    return vectors.flip(1).T[:n].to(rows), values.flip(0)[:n].clamp(min=0).sqrt().to(rows)


def _write_latents(encoder: Encoder, x: Tensor, per_group: int) -> None:
    rows = rearrange(x, "b c f h w -> (b f h w) c")
    n = 4 * per_group  # channels of a group: features, their negatives, constants of both signs
    n_latent = per_group * encoder.norm_out.num_groups
    basis, deviation = _components(rows, n_latent)
    scaled = basis / deviation.sqrt().clamp(min=1e-4)[:, None]
    scaled = scaled / deviation.mean().sqrt()
    shift = -scaled @ rows.mean(0)
    shortcut = encoder.down_blocks[-1].resnets[0].conv_shortcut
    conv_out, norm = encoder.conv_out.conv, encoder.norm_out
    for tensor in (shortcut.weight, shortcut.bias, conv_out.weight, conv_out.bias):
        tensor.zero_()
    norm.weight.fill_(((CONSTANT**2 + 1) / 2) ** 0.5)
    norm.bias.fill_(FAR)
    for i in range(n_latent):
        group, place = divmod(i, per_group)
        plus = group * n + place
        minus = plus + per_group
        for channel, sign in ((plus, 1.0), (minus, -1.0)):
            shortcut.weight[channel, :, 0, 0, 0], shortcut.bias[channel] = sign * scaled[i], sign * shift[i]
            shortcut.bias[channel + 2 * per_group] = sign * CONSTANT
            conv_out.weight[i, channel, 2, 1, 1] = sign / 2
    conv_out.bias[n_latent:] = -8.0  # log variance: next to nothing is drawn
