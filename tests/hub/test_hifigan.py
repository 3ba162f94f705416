"""HiFi-GAN against transformers' class, through the layouts of transformers and of the authors' checkpoints."""

import json

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils.parametrizations import weight_norm

import nexus
from nexus.codecs.hifigan import HiFiGAN, HiFiGANConfig
from nexus.hub import hifigan
from nexus.hub.load import kind_of, weights_hash
from nexus.hub.source import find
from nexus.media.features import MelConfig, log_mel

transformers = pytest.importorskip("transformers")

SMALL = {
    "model_in_dim": 20,
    "upsample_initial_channel": 32,
    "upsample_rates": [4, 3],
    "upsample_kernel_sizes": [8, 7],
    "resblock_kernel_sizes": [3, 7],
    "resblock_dilation_sizes": [[1, 3, 5], [1, 2, 4]],
}
ORIGINAL = {
    "resblock": "1",
    "upsample_rates": [4, 3],
    "upsample_kernel_sizes": [8, 7],
    "upsample_initial_channel": 32,
    "resblock_kernel_sizes": [3, 7],
    "resblock_dilation_sizes": [[1, 3, 5], [1, 2, 4]],
    "num_mels": 20,
    "n_fft": 64,
    "hop_size": 12,
    "win_size": 48,
    "sampling_rate": 8000,
    "fmin": 0,
    "fmax": 3000,
    "fmax_for_loss": None,
}


@torch.no_grad()
def redraw(model: nn.Module) -> None:
    """Signals of about unit size at every depth: as initialised, the output is 1e-8."""
    torch.manual_seed(0)
    for name, tensor in model.state_dict().items():
        noise = torch.randn_like(tensor)
        if name == "scale":
            tensor.copy_(0.5 + noise.abs())
        elif name.endswith("bias") or name == "mean":
            tensor.copy_(0.2 * noise)
        elif name.startswith("conv_post"):
            tensor.copy_(noise * 0.2 * tensor[0].numel() ** -0.5)
        elif name.startswith("upsampler"):
            tensor.copy_(noise * 1.5 * (2 * tensor.shape[0]) ** -0.5)
        else:
            tensor.copy_(noise * tensor[0].numel() ** -0.5)


def reference(**options):
    model = transformers.SpeechT5HifiGan(transformers.SpeechT5HifiGanConfig(**(SMALL | options))).eval()
    redraw(model)
    return model


def agree(model: HiFiGAN, expected, lengths=(1, 2, 17)) -> None:
    """To 1e-5 of the output's own size."""
    assert isinstance(model, HiFiGAN)
    for length in lengths:
        torch.manual_seed(1)
        mel = torch.randn(2, model.mel.n_mels, length)
        with torch.no_grad():
            waveform = expected(mel.mT)
        output = model.decode(mel)
        assert output.shape == (2, 1, length * model.hop_length)
        assert waveform.std() > 0.05 and waveform.abs().max() < 1
        assert (output[:, 0] - waveform).abs().max() < 1e-5 * waveform.abs().max()


@pytest.mark.parametrize("normalize_before", [True, False])
@pytest.mark.parametrize("model_type", ["hifigan", "speecht5_hifigan"])
def test_transformers_folder(tmp_path, normalize_before, model_type):
    theirs = reference(normalize_before=normalize_before)
    theirs.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text()) | {"model_type": model_type}
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert kind_of(tmp_path) == "HiFiGAN"
    model = nexus.load(tmp_path, device="cpu")
    agree(model, theirs)
    assert (model.sample_rate, model.hop_length) == (16000, 12)


def with_weight_norm(model: nn.Module, spelling: str) -> dict[str, torch.Tensor]:
    """The state of a checkpoint whose weights are split into sizes and directions, in the old names or the new."""
    for module in model.modules():
        if isinstance(module, nn.Conv1d | nn.ConvTranspose1d):
            weight_norm(module)
            with torch.no_grad():
                module.parametrizations.weight.original1.mul_(1.7)  # directions of any length mean the same
    state = model.state_dict()
    if spelling == "new":
        return state
    names = {".parametrizations.weight.original0": ".weight_g", ".parametrizations.weight.original1": ".weight_v"}
    return {next((k.replace(new, old) for new, old in names.items() if new in k), k): v for k, v in state.items()}


@pytest.mark.parametrize("spelling", ["old", "new"])
def test_transformers_folder_with_weight_norm(tmp_path, spelling):
    theirs = reference()
    theirs.config.save_pretrained(tmp_path)
    torch.save(with_weight_norm(theirs, spelling), tmp_path / "pytorch_model.bin")
    agree(nexus.load(tmp_path, device="cpu"), theirs)


def original_state(theirs: nn.Module, spelling: str) -> dict[str, torch.Tensor]:
    state = with_weight_norm(theirs, spelling)
    return {k.replace("upsampler.", "ups."): v.clone() for k, v in state.items() if k not in ("mean", "scale")}


@pytest.mark.parametrize("spelling", ["old", "new"])
@pytest.mark.parametrize("name", ["generator_v1", "g_02500000", "generator.pth"])
def test_original_checkpoint(tmp_path, spelling, name):
    theirs = reference(normalize_before=False)
    (tmp_path / "config.json").write_text(json.dumps(ORIGINAL))
    torch.save({"generator": original_state(theirs, spelling)}, tmp_path / name)
    agree(nexus.load(tmp_path, device="cpu"), theirs)
    model = nexus.load(tmp_path / name, device="cpu")  # the config beside the file
    agree(model, theirs)
    assert model.mel == MelConfig.hifigan(8000, 64, 12, 48, 20, 0.0, 3000.0)
    empty = tmp_path / "empty"
    empty.mkdir()
    assert model.info.weights_hash == weights_hash(find(tmp_path)) != weights_hash(find(empty))


def test_the_last_step_of_a_training_folder_is_loaded(tmp_path):
    theirs = reference(normalize_before=False)
    (tmp_path / "config.json").write_text(json.dumps(ORIGINAL))
    state = original_state(theirs, "old")
    torch.save({"generator": {k: 0 * v for k, v in state.items()}}, tmp_path / "g_00005000")
    torch.save({"generator": state}, tmp_path / "g_00010000")
    torch.save({"mpd": {}, "steps": 10000}, tmp_path / "do_00010000")
    agree(nexus.load(tmp_path, device="cpu"), theirs)


def test_bad_folders_are_refused(tmp_path):
    theirs = reference(normalize_before=False)
    (tmp_path / "config.json").write_text(json.dumps(ORIGINAL))
    with pytest.raises(FileNotFoundError, match="generator_v1"):
        nexus.load(tmp_path)
    state = original_state(theirs, "old")
    torch.save({"generator": state | {"extra.weight": torch.zeros(1)}}, tmp_path / "g_1")
    with pytest.raises(ValueError, match=r"unexpected: extra\.weight"):
        nexus.load(tmp_path)
    del state["resblocks.0.convs2.1.bias"]
    torch.save({"generator": state}, tmp_path / "g_1")
    with pytest.raises(ValueError, match="1 missing"):
        nexus.load(tmp_path)
    for wrong, message in (
        ({"resblock": "3"}, "resblock must be 1 or 2"),
        ({"upsample_kernel_sizes": [8, 6]}, "even number"),
        ({"hop_size": 16}, "hop_length is 16"),
    ):
        (tmp_path / "config.json").write_text(json.dumps(ORIGINAL | wrong))
        with pytest.raises(ValueError, match=message):
            nexus.load(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({k: v for k, v in ORIGINAL.items() if k != "num_mels"}))
    with pytest.raises(ValueError, match="num_mels is missing"):
        nexus.load(tmp_path)


def test_speecht5_mel_is_the_feature_extractors():
    extractor = transformers.SpeechT5FeatureExtractor()
    rng = np.random.default_rng(0)
    x = (0.3 * np.sin(np.arange(5001) ** 1.3 / 50) + 0.01 * rng.standard_normal(5001)).astype(np.float32)
    expected = torch.from_numpy(extractor(audio_target=x, sampling_rate=16000)["input_values"][0]).mT
    mel = log_mel(torch.from_numpy(x)[None], MelConfig.speecht5())[0]
    assert mel.shape == expected.shape and mel.std() > 0.1
    torch.testing.assert_close(mel, expected.float(), atol=1e-3, rtol=1e-4)


@pytest.mark.slow
def test_official_width(tmp_path):
    theirs = transformers.SpeechT5HifiGan(transformers.SpeechT5HifiGanConfig()).eval()
    redraw(theirs)
    theirs.save_pretrained(tmp_path)
    model = nexus.load(tmp_path, device="cpu")
    assert model.config == HiFiGANConfig.speecht5()
    agree(model, theirs, lengths=(23,))


def test_sizes_are_the_papers():
    for config, millions in ((HiFiGANConfig.v1(), 13.92), (HiFiGANConfig.v2(), 0.92), (HiFiGANConfig.v3(), 1.46)):
        with torch.device("meta"):
            n = sum(parameter.numel() for parameter in HiFiGAN(config).parameters())
        assert n / 1e6 == pytest.approx(millions, abs=0.011)  # table 1; without weight norm's sizes


def test_build_takes_original_names():
    theirs = reference(normalize_before=False)
    config = hifigan.config_from_original(ORIGINAL, "test")
    agree(hifigan.build(config, original_state(theirs, "old"), "test").eval(), theirs)


@torch.no_grad()
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*weight_norm:FutureWarning")
@pytest.mark.parametrize("version", [1, 2, 3])
def test_equals_the_original_at_the_published_sizes(hifigan_source, tmp_path, version):
    values = json.loads((hifigan_source.place / f"config_v{version}.json").read_text())
    torch.manual_seed(0)
    theirs = hifigan_source.models.Generator(hifigan_source.env.AttrDict(values)).eval()
    for name, parameter in theirs.named_parameters():
        noise = torch.randn_like(parameter)
        if name.endswith("weight_g"):
            small = 3 * (len(parameter) / 2) ** -0.5  # of transposed ones, whose sizes are of inputs
            parameter.copy_(torch.full_like(parameter, small) if "ups" in name else 0.6 + 0.05 * noise)
        else:
            parameter.copy_(0.2 * noise if name.endswith("bias") else noise)
    (tmp_path / "config.json").write_text(json.dumps(values))
    torch.save({"generator": theirs.state_dict()}, tmp_path / "g_02500000")
    model = nexus.load(tmp_path, device="cpu")
    assert model.config == getattr(HiFiGANConfig, f"v{version}")()
    mel = torch.randn(2, 80, 9)
    waveform = theirs(mel)
    assert waveform.std() > 0.01
    assert (model.decode(mel) - waveform).abs().max() < 1e-5 * waveform.abs().max()
