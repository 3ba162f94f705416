"""BigVGAN against the reference package, through the layout of the official weights."""

import json

import pytest
import torch
from torch import nn

import nexus
from nexus.codecs.bigvgan import BigVGAN, BigVGANConfig
from nexus.codecs.hifigan import HiFiGANConfig
from nexus.hub.load import kind_of
from nexus.media.features import log_mel

# The reference is built with torch's old weight norm.
pytestmark = pytest.mark.filterwarnings("ignore:.*weight_norm:FutureWarning")

V1 = {
    "resblock": "1",
    "upsample_rates": [4, 2],
    "upsample_kernel_sizes": [8, 4],
    "upsample_initial_channel": 32,
    "resblock_kernel_sizes": [3, 7],
    "resblock_dilation_sizes": [[1, 3, 5], [1, 2, 3]],
    "activation": "snakebeta",
    "snake_logscale": True,
    "num_mels": 20,
    "num_freq": 65,
    "n_fft": 64,
    "hop_size": 8,
    "win_size": 64,
    "sampling_rate": 8000,
    "fmin": 0,
    "fmax": None,
    "fmax_for_loss": None,
}
VARIANTS = {
    "v1": {},
    "v2": {"use_tanh_at_final": False, "use_bias_at_final": False},
    "blocks of one": {"resblock": "2", "resblock_dilation_sizes": [[1, 3], [2, 6]]},
    "snake": {"activation": "snake"},
    "snake, linear": {"activation": "snake", "snake_logscale": False},
    "snakebeta, linear": {"snake_logscale": False},
}


@torch.no_grad()
def redraw(model: nn.Module, log_scale: bool) -> None:
    """Signals of about unit size at every depth, periodic activations of many frequencies."""
    torch.manual_seed(0)
    for name, parameter in model.named_parameters():
        noise = torch.randn_like(parameter)
        if name.endswith((".alpha", ".beta")):
            parameter.copy_(0.3 * noise if log_scale else 0.5 + noise.abs())
        elif name.endswith("bias"):
            parameter.copy_(0.2 * noise)
        elif name.endswith("weight_g"):
            parameter.copy_(0.7 + 0.2 * noise.abs() if "ups" not in name else 0.3 + 0.2 * noise.abs())
        else:
            parameter.copy_(noise)


def reference(bigvgan, values):
    model = bigvgan.model.BigVGAN(bigvgan.env.AttrDict(values)).eval()
    redraw(model, values["snake_logscale"])
    return model


def agree(model: BigVGAN, expected, lengths=(1, 2, 17)) -> None:
    """To 2e-5 of the output's own size."""
    assert isinstance(model, BigVGAN)
    for length in lengths:
        torch.manual_seed(1)
        mel = 0.3 * torch.randn(2, model.mel.n_mels, length)
        with torch.no_grad():
            waveform = expected(mel)
        output = model.decode(mel)
        assert output.shape == (2, 1, length * model.hop_length)
        assert waveform.std() > 0.05
        assert (waveform.abs() < 0.999).float().mean() > 0.2  # not all of it is at the bounds
        assert (output - waveform).abs().max() < 2e-5 * waveform.abs().max()


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("folded", [False, True])
def test_official_folder(bigvgan, tmp_path, variant, folded):
    values = V1 | VARIANTS[variant]
    theirs = reference(bigvgan, values)
    if folded:
        theirs.remove_weight_norm()
    theirs._save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(values))
    assert kind_of(tmp_path) == "BigVGAN"
    model = nexus.load(tmp_path, device="cpu")
    agree(model, theirs)
    assert model.mel.sample_rate == 8000


def test_a_file_beside_its_config(bigvgan, tmp_path):
    theirs = reference(bigvgan, V1)
    (tmp_path / "config.json").write_text(json.dumps(V1))
    torch.save({"generator": theirs.state_dict()}, tmp_path / "g_05000000")
    agree(nexus.load(tmp_path / "g_05000000", device="cpu"), theirs)


def test_bad_checkpoints_are_refused(bigvgan, tmp_path):
    theirs = reference(bigvgan, V1)
    (tmp_path / "config.json").write_text(json.dumps(V1))
    with pytest.raises(FileNotFoundError, match=r"bigvgan_generator\.pt"):
        nexus.load(tmp_path)
    good = theirs.state_dict()

    def save(state):
        torch.save({"generator": state}, tmp_path / "bigvgan_generator.pt")

    name = "activation_post.upsample.filter"
    save(good | {name: good[name] * 1.1})
    with pytest.raises(ValueError, match="12-tap Kaiser"):
        nexus.load(tmp_path)
    save({k: v for k, v in good.items() if k != "resblocks.1.activations.3.act.beta"})
    with pytest.raises(ValueError, match="1 missing"):
        nexus.load(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(V1 | {"activation": "relu"}))
    with pytest.raises(ValueError, match="snake or snakebeta, got 'relu'"):
        nexus.load(tmp_path)


def test_mel_is_the_originals(bigvgan):
    torch.manual_seed(0)
    x = 0.3 * torch.sin(torch.arange(30011) ** 1.3 / 50)[None] + 0.01 * torch.randn(2, 30011)
    # HiFi-GAN's code and BigVGAN's have one definition, with other settings.
    for m in (BigVGANConfig.v1_24khz().mel, BigVGANConfig.v2_44khz().mel, HiFiGANConfig.v1().mel):
        expected = bigvgan.mel.mel_spectrogram(
            x, m.n_fft, m.n_mels, m.sample_rate, m.hop_length, m.win_length, m.f_min, m.f_max
        )
        mel = log_mel(x, m)
        assert mel.shape == expected.shape == (2, m.n_mels, 30011 // m.hop_length) and mel.std() > 0.5
        torch.testing.assert_close(mel, expected, atol=1e-4, rtol=1e-4)


def test_sizes_are_the_published():
    for config, millions in ((BigVGANConfig.v1_base_24khz(), 14), (BigVGANConfig.v2_44khz(), 122)):
        with torch.device("meta"):
            n = sum(parameter.numel() for parameter in BigVGAN(config).parameters())
        assert round(n / 1e6) == millions


@pytest.mark.slow
def test_official_width(bigvgan, tmp_path):
    values = V1 | {
        "upsample_rates": [4, 4, 2, 2, 2, 2],
        "upsample_kernel_sizes": [8, 8, 4, 4, 4, 4],
        "upsample_initial_channel": 1536,
        "resblock_kernel_sizes": [3, 7, 11],
        "resblock_dilation_sizes": [[1, 3, 5]] * 3,
        "num_mels": 100,
        "n_fft": 1024,
        "hop_size": 256,
        "win_size": 1024,
        "sampling_rate": 24000,
        "use_tanh_at_final": False,
        "use_bias_at_final": False,
    }
    theirs = reference(bigvgan, values)
    theirs._save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(values))
    model = nexus.load(tmp_path, device="cpu")
    assert model.config == BigVGANConfig.v2_24khz()
    agree(model, theirs, lengths=(11,))
