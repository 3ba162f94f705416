"""The causal autoencoder on its own: what may see what, gradients, learning, files."""

import copy

import pytest
import torch
from torch import nn

from nexus.codecs.cogvideox_vae import CogVideoXVAE, CogVideoXVAEConfig, LatentDistribution, chunks
from nexus.hub import native
from nexus.hub.source import Source
from nexus.nn.checkpoint import save_folder
from nexus.nn.packed import PackedConv3d, available
from nexus.nn.prepack import prepack

CONFIG = CogVideoXVAEConfig(block_out_channels=(4, 8, 8), layers_per_block=1, latent_channels=3, norm_num_groups=2)


@pytest.fixture
def vae() -> CogVideoXVAE:
    """Parameters redrawn, so that no norm is trivial."""
    model, rng = CogVideoXVAE(CONFIG).eval(), torch.Generator().manual_seed(1)
    for parameter in model.parameters():
        parameter.data = torch.randn(parameter.shape, generator=rng) * 0.2
    return model


@pytest.mark.parametrize(("frames", "latents", "decoded"), [(1, 1, 1), (5, 2, 8), (8, 2, 8), (9, 3, 9), (17, 5, 17)])
def test_shapes(vae, rng, frames, latents, decoded):
    """8k + 1 frames come back as many; an even number of latents is four frames each, as in the reference."""
    with torch.no_grad():
        latent = vae.encode(torch.randn(2, 3, frames, 8, 12, generator=rng)).mean
        assert latent.shape == (2, 3, latents, 2, 3)
        assert vae.decode(latent).shape == (2, 3, decoded, 8, 12)


def test_earlier_chunks_do_not_see_later_frames(vae, rng):
    """Group norms couple the frames of one chunk (9, then 8), so causality holds from chunk to chunk."""
    video = torch.randn(1, 3, 17, 8, 8, generator=rng)
    changed = video.clone()
    changed[:, :, 9] += 1.0
    with torch.no_grad():
        a, b = vae.encode(video).mean, vae.encode(changed).mean
        assert torch.equal(a[:, :, :3], b[:, :, :3])
        assert ((a - b)[:, :, 3:].abs().amax(dim=(0, 1, 3, 4)) > 1e-4).all()
        changed = video.clone()
        changed[:, :, 8] += 1.0
        within = (vae.encode(changed).mean - a).abs().amax(dim=(0, 1, 3, 4))
        assert (within > 1e-5).all(), "the last frame of a chunk reaches its first latent, and the chunk after"


def test_earlier_frames_do_not_see_later_latents(vae, rng):
    """Latents are decoded three, then two at a time: 9 and 8 frames."""
    latent = torch.randn(1, 3, 5, 2, 2, generator=rng)
    changed = latent.clone()
    changed[:, :, 3] += 1.0
    with torch.no_grad():
        a, b = vae.decode(latent), vae.decode(changed)
    assert torch.equal(a[:, :, :9], b[:, :, :9])
    assert ((a - b)[:, :, 9:].abs().amax(dim=(0, 1, 3, 4)) > 1e-4).all()


def test_a_chunk_continues_the_one_before(vae, rng):
    """The second chunk of a clip differs from the same frames alone, which have another past."""
    video = torch.randn(1, 3, 17, 8, 8, generator=rng)
    with torch.no_grad():
        whole, alone = vae.encode(video).mean[:, :, 3:], vae.encode(video[:, :, 9:]).mean
    assert whole.shape == alone.shape and (whole - alone).abs().max() > 1e-3


def test_an_item_alone_equals_it_in_a_batch_and_calls_leave_nothing_behind(vae, rng):
    video = torch.randn(2, 3, 9, 8, 8, generator=rng)
    with torch.no_grad():
        both = vae.encode(video).mean
        for i in range(2):
            torch.testing.assert_close(vae.encode(video[i : i + 1]).mean, both[i : i + 1], atol=1e-5, rtol=1e-5)
        assert torch.equal(vae.encode(video).mean, both)


def test_every_parameter_gets_a_gradient(vae, rng):
    distribution = vae.encode(torch.randn(1, 3, 9, 8, 8, generator=rng))
    latent = distribution.sample(torch.randn(distribution.mean.shape, generator=rng))
    (vae.decode(latent).square().mean() + distribution.kl()).backward()
    dead = [name for name, p in vae.named_parameters() if p.grad is None or p.grad.abs().max() == 0]
    assert not dead


@pytest.mark.parametrize("shape", [(1, 3, 5, 6, 8), (1, 3, 5, 8, 7), (1, 3, 0, 8, 8)])
def test_sides_and_lengths_that_cannot_be_are_refused(vae, shape):
    with pytest.raises(ValueError, match="multiples of 4"):
        vae.encode(torch.zeros(shape))


@pytest.mark.parametrize("wrong", [{"norm_num_groups": 3}, {"frames_per_chunk": 12}])
def test_impossible_configs_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        CogVideoXVAEConfig(**wrong)


@pytest.mark.parametrize(
    ("n", "size", "expected"),
    [
        (1, 8, [(0, 1)]),
        (7, 8, [(0, 7)]),
        (8, 8, [(0, 8)]),
        (9, 8, [(0, 9)]),
        (17, 8, [(0, 9), (9, 17)]),
        (49, 8, [(0, 9), (9, 17), (17, 25), (25, 33), (33, 41), (41, 49)]),
        (13, 2, [(0, 3), (3, 5), (5, 7), (7, 9), (9, 11), (11, 13)]),
        (5, 2, [(0, 3), (3, 5)]),
    ],
)
def test_chunks(n, size, expected):
    assert [(part.start, part.stop) for part in chunks(n, size)] == expected


def test_divergence_from_the_standard_normal():
    zeros = torch.zeros(1, 2, 1, 2, 2)
    assert LatentDistribution(zeros, zeros).kl() == 0
    torch.testing.assert_close(LatentDistribution(zeros + 2, zeros).kl(), torch.tensor(2.0))  # mean^2 / 2
    wide = LatentDistribution(zeros, zeros + torch.tensor(4.0).log())  # deviation 2: (4 - 1 - log 4) / 2
    torch.testing.assert_close(wide.kl(), (3 - torch.tensor(4.0).log()) / 2)
    noise = torch.ones_like(zeros)
    torch.testing.assert_close(wide.sample(noise), 2 * noise)


def test_it_learns_one_clip():
    torch.manual_seed(0)
    model = CogVideoXVAE(CONFIG)
    ramp = torch.linspace(-1, 1, 8).expand(9, 8, 8)
    video = torch.stack([ramp, ramp.mT, -ramp])[None]
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    losses = []
    for _ in range(35):
        loss = nn.functional.mse_loss(model.decode(model.encode(video).mean), video)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.2 * losses[0], losses[::5]


def test_it_is_saved_and_loaded(vae, rng, tmp_path):
    save_folder(vae, tmp_path / "vae", kind="cogvideox-vae", config=CONFIG)
    loaded = native.load(Source("vae", tmp_path / "vae")).eval()
    assert loaded.config == CONFIG
    video = torch.randn(1, 3, 5, 8, 8, generator=rng)
    with torch.no_grad():
        assert torch.equal(loaded.encode(video).mean, vae.encode(video).mean)


def test_prepacked_it_computes_the_same(vae, rng):
    video = torch.randn(1, 3, 17, 16, 8, generator=rng)
    fast = prepack(copy.deepcopy(vae))
    assert not available() or any(isinstance(layer, PackedConv3d) for layer in fast.modules())
    with torch.inference_mode():
        latent = vae.encode(video).mean
        torch.testing.assert_close(fast.encode(video).mean, latent, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(fast.decode(latent), vae.decode(latent), rtol=1e-4, atol=1e-4)
