"""SoundStream's discriminators: the paper's shapes, gradients, and that they learn to tell noise from a tone."""

import pytest
import torch

from nexus.process.adversarial import Discriminators, discriminator_hinge
from nexus.process.soundstream_judges import SpectrumDiscriminator, WaveDiscriminator, soundstream_judges


def test_the_stft_judges_shape():
    """T / (8 H) logits over six halvings of 512 bins; widths 32 to 512 (figure 5)."""
    judge = SpectrumDiscriminator(n_filters=2)
    logits, features = judge(torch.randn(2, 1, 256 * 32))
    assert features[0].shape == (2, 2, 33, 512)
    assert features[-1].shape == (2, 32, 4, 8)
    assert logits.shape == (2, 1, 4)
    assert [unit.second.out_channels for unit in SpectrumDiscriminator().units] == [64, 128, 128, 256, 256, 512]
    with pytest.raises(ValueError, match="multiple of 128"):
        SpectrumDiscriminator(n_fft=200)


def test_the_wave_judges_shape():
    judge = WaveDiscriminator(0)
    convs = [(c.in_channels, c.out_channels, c.kernel_size[0], c.stride[0], c.groups) for c in judge.layers]
    assert convs == [
        (1, 16, 15, 1, 1),
        (16, 64, 41, 4, 4),
        (64, 256, 41, 4, 16),
        (256, 1024, 41, 4, 64),
        (1024, 1024, 41, 4, 256),
        (1024, 1024, 5, 1, 1),
    ]
    for halvings, frames in ((0, 16), (1, 8), (2, 4)):
        logits, features = WaveDiscriminator(halvings, 4)(torch.randn(1, 1, 4096))
        assert logits.shape == (1, 1, frames)
        assert len(features) == 6


def test_together_they_learn():
    torch.manual_seed(0)
    judges = Discriminators(*soundstream_judges(n_fft=128, stft_filters=2, wave_filters=1))
    assert len(judges.members) == 4
    tone = torch.sin(torch.arange(1501) * torch.rand(4, 1, 1))
    noise = 0.5 * torch.randn(4, 1, 1501)
    optimizer = torch.optim.Adam(judges.parameters(), lr=5e-3)
    for _ in range(40):
        loss = discriminator_hinge(judges(tone), judges(noise))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss < 0.5


def test_every_parameter_gets_a_gradient():
    torch.manual_seed(0)
    judges = Discriminators(*soundstream_judges(n_fft=128, stft_filters=2, wave_filters=4))
    torch.stack([logits.square().mean() for logits in judges(torch.randn(2, 1, 1501)).logits]).sum().backward()
    missing = [n for n, p in judges.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert not missing
