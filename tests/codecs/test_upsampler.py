"""HiFi-GAN and BigVGAN on their own: lengths, streams, gradients, learning."""

import dataclasses

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize

from nexus.codecs.bigvgan import BigVGAN, BigVGANConfig
from nexus.codecs.hifigan import HiFiGAN, HiFiGANConfig
from nexus.codecs.upsampler import UpsamplerConfig, UpsamplingVocoder
from nexus.hub import native
from nexus.hub.source import Source
from nexus.media.features import MelConfig

MEL = MelConfig.hifigan(8000, n_fft=128, hop_length=16, win_length=64, n_mels=12, f_max=3000.0)
SIZES = UpsamplerConfig(
    dim=16, ratios=(8, 2), kernel_sizes=(16, 4), block_kernel_sizes=(3, 7), dilations=((1, 3), (1, 2))
)
CONFIGS = {
    "hifigan": HiFiGANConfig(mel=MEL, upsampler=SIZES, standardised=True),
    "hifigan v3": HiFiGANConfig(mel=MEL, upsampler=dataclasses.replace(SIZES, paired=False, weight_norm=True)),
    "bigvgan v1": BigVGANConfig(mel=MEL, upsampler=SIZES, bound="tanh", last_bias=True, activation="snake"),
    "bigvgan v2": BigVGANConfig(mel=MEL, upsampler=dataclasses.replace(SIZES, ratios=(4, 4), kernel_sizes=(8, 10))),
}


@torch.no_grad()
def vocoder(config: HiFiGANConfig | BigVGANConfig) -> UpsamplingVocoder:
    """Redrawn so that signals have about unit size at every depth; as initialised they fade to nothing."""
    torch.manual_seed(0)
    model = (HiFiGAN(config) if isinstance(config, HiFiGANConfig) else BigVGAN(config)).eval()
    for module in model.modules():
        if isinstance(module, nn.Conv1d | nn.ConvTranspose1d):
            fan = module.weight[0].numel() if isinstance(module, nn.Conv1d) else 2 * module.in_channels
            weight = 0.7 * torch.randn_like(module.weight) * fan**-0.5
            if parametrize.is_parametrized(module):
                module.weight = weight  # split into size and direction
            else:
                module.weight.copy_(weight)
    if isinstance(model, HiFiGAN) and config.standardised:
        model.standardise.mean.copy_(torch.randn(12))
        model.standardise.scale.copy_(0.5 + torch.rand(12))
    return model


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize(("n_frames", "chunk"), [(1, 1), (5, 1), (41, 1), (41, 3), (41, 41)])
def test_streams_equal_the_whole(name, n_frames, chunk):
    model, mel = vocoder(CONFIGS[name]), torch.randn(2, 12, n_frames)
    whole = model.decode(mel)
    assert whole.shape == (2, 1, 16 * n_frames)
    assert 0.02 < whole.std() < 0.9
    with model.streaming() as stream:
        chunks = mel.split(chunk, dim=-1)
        parts = [stream.decode(part, last=i == len(chunks) - 1) for i, part in enumerate(chunks)]
    torch.testing.assert_close(torch.cat(parts, dim=-1), whole, atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", CONFIGS)
def test_look_ahead_is_what_it_says(name):
    model = vocoder(CONFIGS[name])
    with model.streaming() as stream:
        heard = [stream.decode(torch.randn(1, 12, 1)).shape[-1] for _ in range(30)]
    # Frame f of the input has given its hop of samples once look_ahead more frames have come.
    assert sum(heard[: model.look_ahead + 1]) >= 16
    assert sum(heard[: model.look_ahead]) < 16
    assert heard[-5:] == [16] * 5


@pytest.mark.parametrize("name", CONFIGS)
def test_no_sample_depends_on_more_frames_than_it_waits_for(name):
    model = vocoder(CONFIGS[name])
    mel = torch.randn(1, 12, 40, requires_grad=True)
    model(mel)[0, 0, 16 * 20 : 16 * 21].sum().backward()
    assert mel.grad is not None
    frames = mel.grad.abs().sum((0, 1)).nonzero()[:, 0]
    assert frames.max() == 20 + model.look_ahead


@pytest.mark.parametrize("name", CONFIGS)
def test_no_frames_are_no_samples(name):
    model = vocoder(CONFIGS[name])
    assert model.decode(torch.zeros(2, 12, 0)).shape == (2, 1, 0)


def test_items_of_a_batch_are_as_alone():
    model, mel = vocoder(CONFIGS["hifigan"]), torch.randn(3, 12, 9)
    torch.testing.assert_close(model.decode(mel)[1:2], model.decode(mel[1:2]), atol=1e-6, rtol=0)


def test_standardise_comes_first():
    model, mel = vocoder(CONFIGS["hifigan"]), torch.randn(1, 12, 9)
    assert isinstance(model, HiFiGAN)
    standardised = (mel - model.standardise.mean[:, None]) / model.standardise.scale[:, None]
    plain = vocoder(dataclasses.replace(CONFIGS["hifigan"], standardised=False))
    plain.load_state_dict({k: v for k, v in model.state_dict().items() if not k.startswith("standardise")})
    torch.testing.assert_close(model.decode(mel), plain.decode(standardised), atol=1e-6, rtol=0)


def test_wrong_input_is_refused():
    for value in (float("nan"), float("inf")):
        mel = torch.randn(1, 12, 4)
        mel[0, 3, 2] = value
        with pytest.raises(ValueError, match="finite"):
            vocoder(CONFIGS["bigvgan v2"]).decode(mel)
    with pytest.raises(ValueError, match="over 56 samples, got 0"):
        vocoder(CONFIGS["hifigan"]).features(torch.zeros(1, 1, 0))
    with pytest.raises(ValueError, match="12 mel bins"):
        vocoder(CONFIGS["hifigan"]).decode(torch.randn(1, 13, 4))
    with pytest.raises(ValueError, match="make 32 samples"):
        HiFiGANConfig(mel=MEL, upsampler=dataclasses.replace(SIZES, ratios=(8, 4), kernel_sizes=(16, 8)))
    with pytest.raises(ValueError, match="make 32 samples"):
        BigVGANConfig(mel=MEL, upsampler=dataclasses.replace(SIZES, ratios=(8, 4), kernel_sizes=(16, 8)))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"ratios": (16,)}, "needs a kernel size"),
        ({"kernel_sizes": (15, 4)}, "16 is usual"),
        ({"kernel_sizes": (6, 4)}, "16 is usual"),
        ({"dilations": ((1, 3),)}, "needs dilations"),
        ({"block_kernel_sizes": (3, 4)}, "odd"),
        ({"dim": 18}, "divisible by 4"),
    ],
)
def test_wrong_sizes_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(SIZES, **wrong)


@pytest.mark.parametrize("name", CONFIGS)
def test_every_parameter_gets_a_gradient(name):
    model = vocoder(CONFIGS[name])
    model(torch.randn(2, 12, 9)).square().mean().backward()
    assert not [n for n, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]


@pytest.mark.parametrize("name", CONFIGS)
def test_saved_and_loaded_is_the_same(tmp_path, name):
    model, mel = vocoder(CONFIGS[name]), torch.randn(1, 12, 7)
    model.save(tmp_path)
    loaded = native.load(Source("test", tmp_path)).eval()
    assert loaded.config == CONFIGS[name]
    assert torch.equal(loaded.decode(mel), model.decode(mel))


def test_features_are_one_frame_a_hop():
    model = vocoder(CONFIGS["bigvgan v2"])
    assert model.features(torch.randn(2, 1, 500)).shape == (2, 12, 500 // 16)


def test_the_loss_hears_what_the_mel_does_not_tell():
    model, t = vocoder(CONFIGS["hifigan"]), torch.arange(1600) / 8000
    low, high = (0.3 * torch.sin(2 * torch.pi * hertz * t)[None, None] for hertz in (500, 3700))
    assert (model.features(low) - model.features(low + high)).abs().mean() < 0.2
    losses = model.losses(low, low + high)
    assert losses["mel"] > 0.5
    assert losses["loss"].item() == pytest.approx(45 * losses["mel"].item())


@pytest.mark.parametrize("name", ["hifigan v3", "bigvgan v2"])
def test_learns_one_batch(name):
    model = vocoder(CONFIGS[name]).train()
    with torch.no_grad():  # away from the bounds, where nothing is learnt
        model.generator.layers[-1].layers[1].conv.weight.mul_(0.1)  # type: ignore
    t = torch.arange(1600) / 8000
    x = 0.5 * torch.sin(2 * torch.pi * torch.tensor([[220.0], [700.0]]) * t)[:, None] + 0.02 * torch.randn(2, 1, 1600)
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    losses = []
    for _ in range(30):
        loss = model.loss({"waveform": x})["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.75 * losses[0]
