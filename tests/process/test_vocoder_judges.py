"""The judges of vocoders: equal to BigVGAN's, losses too, and every parameter in use."""

import sys
import types

import pytest
import torch
from torch import nn

from nexus.process.adversarial import Discriminators, multi_period
from nexus.process.least_squares import (
    FEATURE_WEIGHT,
    discriminator_sum,
    feature_sum,
    generator_sum,
    with_logits,
)
from nexus.process.vocoder_judges import multi_resolution, multi_scale

RESOLUTIONS = ((64, 12, 48), (128, 16, 96), (32, 5, 24))


@pytest.fixture
def reference(bigvgan, monkeypatch):
    """BigVGAN's judges and losses; torchaudio, which its CQT judges need, is stubbed."""
    for name in ("torchaudio", "torchaudio.transforms"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    sys.modules["torchaudio.transforms"].Spectrogram = sys.modules["torchaudio.transforms"].Resample = None
    from bigvgan import discriminators, loss

    return types.SimpleNamespace(judges=discriminators, loss=loss, env=bigvgan.env)


def take(ours: nn.ModuleList, theirs: nn.Module) -> None:
    """Gives `ours` the weights of `theirs`, redrawn so that logits have some size."""
    torch.manual_seed(0)
    for mine, member in zip(ours, theirs.discriminators, strict=True):
        state = {}
        for name, value in member.state_dict().items():
            fan = value[0].numel() if value.dim() > 1 else 1
            value.copy_(torch.randn_like(value) * (1.4 if value.numel() > len(value) else 0.1 + fan**-0.5))
            for old, new in (
                ("convs.", "layers."),
                ("conv_post.", "out."),
                ("weight_g", "parametrizations.weight.original0"),
                ("weight_v", "parametrizations.weight.original1"),
            ):
                name = name.replace(old, new)
            state[name] = value
        mine.load_state_dict(state)


@pytest.mark.filterwarnings("ignore:.*weight_norm:FutureWarning", "ignore:A window was not provided:UserWarning")
def test_equal_to_bigvgan(reference):
    h = reference.env.AttrDict(
        {
            "mpd_reshapes": [2, 3],
            "resolutions": RESOLUTIONS,
            "use_spectral_norm": False,
            "discriminator_channel_mult": 1 / 8,
        }
    )
    periods = reference.judges.MultiPeriodDiscriminator(h)
    resolutions = reference.judges.MultiResolutionDiscriminator(h, debug=False)
    ours = Discriminators(*multi_period((2, 3), (4, 16, 64, 128, 128)), *multi_resolution(RESOLUTIONS, width=4))
    take(ours.members[:2], periods)
    take(ours.members[2:], resolutions)
    real, fake = torch.randn(2, 2, 1, 601)
    theirs = [a + b for a, b in zip(periods(real, fake), resolutions(real, fake), strict=True)]  # lists
    judged_real, judged_fake = ours(real), ours(fake)
    for logits, mine in ((theirs[0], judged_real.logits), (theirs[1], judged_fake.logits)):
        for a, b in zip(logits, mine, strict=True):
            assert a.std() > 1e-2
            torch.testing.assert_close(b.flatten(1), a, atol=1e-5, rtol=1e-4)
    expected = reference.loss.discriminator_loss(theirs[0], theirs[1])[0]
    torch.testing.assert_close(discriminator_sum(judged_real, judged_fake), expected, atol=1e-5, rtol=1e-5)
    expected = reference.loss.generator_loss(theirs[1])[0]
    torch.testing.assert_close(generator_sum(judged_fake), expected, atol=1e-5, rtol=1e-5)
    expected = reference.loss.feature_loss(theirs[2], theirs[3])  # with its weight
    matching = feature_sum(with_logits(judged_real), with_logits(judged_fake))
    torch.testing.assert_close(FEATURE_WEIGHT * matching, expected, atol=1e-5, rtol=1e-5)


@torch.no_grad()
@pytest.mark.filterwarnings("ignore:.*weight_norm:FutureWarning", "ignore:.*spectral_norm:FutureWarning")
def test_equal_to_the_original_hifigan(hifigan_source):
    models = hifigan_source.models
    torch.manual_seed(0)
    theirs = [models.MultiPeriodDiscriminator(), models.MultiScaleDiscriminator()]
    ours = Discriminators(*multi_period(), *multi_scale())
    members = [member.eval() for judge in theirs for member in judge.discriminators]
    for mine, member in zip(ours.eval().members, members, strict=True):
        for layer, original in zip([*mine.layers, mine.out], [*member.convs, member.conv_post], strict=True):
            original.bias.add_(0.1)
            layer.bias.copy_(original.bias)
            original(torch.zeros(1, original.in_channels, *[50] * (original.weight.dim() - 2)))  # norms its weight
            if hasattr(original, "weight_orig"):
                parametrization = layer.parametrizations.weight
                parametrization.original.copy_(original.weight_orig)
                parametrization[0]._u.copy_(original.weight_u)
                parametrization[0]._v.copy_(original.weight_v)
            else:
                layer.weight = original.weight
    real, fake = torch.randn(2, 2, 1, 4001)
    said = [a + b for a, b in zip(*(judge(real, fake) for judge in theirs), strict=True)]  # lists
    judged_real, judged_fake = ours(real), ours(fake)
    for logits, mine in ((said[0], judged_real.logits), (said[1], judged_fake.logits)):
        for a, b in zip(logits, mine, strict=True):
            assert a.std() > 1e-4
            torch.testing.assert_close(b.flatten(1), a, atol=1e-6, rtol=1e-4)
    expected = models.discriminator_loss(said[0], said[1])[0], models.generator_loss(said[1])[0]
    found = discriminator_sum(judged_real, judged_fake), generator_sum(judged_fake)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    matching = FEATURE_WEIGHT * feature_sum(with_logits(judged_real), with_logits(judged_fake))
    torch.testing.assert_close(matching, models.feature_loss(said[2], said[3]), atol=1e-5, rtol=1e-5)


def test_scales_hear_halves_of_the_rate():
    judges = multi_scale(3, width=16)
    lengths = [judge(torch.randn(1, 1, 1600))[0].shape[-1] for judge in judges]
    assert lengths == [25, 13, 7]
    t = torch.arange(1600)
    nyquist = (-1.0) ** t[None, None]
    silence = torch.zeros(1, 1, 1600)
    heard = [(judge(nyquist)[0] - judge(silence)[0])[..., 2:-2].abs().max() for judge in judges]
    assert heard[0] > 1e-4
    assert heard[1] < 1e-6  # the average over four samples of the highest frequency is nothing


@pytest.mark.parametrize("judges", [multi_scale(2, width=16), multi_resolution(RESOLUTIONS, width=4)])
def test_every_parameter_gets_a_gradient(judges):
    both = Discriminators(*judges)
    discriminator_sum(both(torch.randn(2, 1, 900)), both(torch.randn(2, 1, 900))).backward()
    assert not [n for n, p in both.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
