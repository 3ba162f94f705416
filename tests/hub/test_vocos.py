"""Vocos against the reference package, through the layout of the official weights."""

import sys
import types

import pytest
import torch
import yaml
from torch import nn

import nexus
from nexus.codecs.vocos import VocosConfig
from nexus.hub import vocos
from nexus.media.features import MelConfig, mel_filterbank


class FakeMelScale(nn.Module):
    def __init__(self, n_mels: int, n_fft: int, sample_rate: int):
        super().__init__()
        self.register_buffer("fb", mel_filterbank(sample_rate, n_fft, n_mels).T.float())


class FakeSpectrogram(nn.Module):
    def __init__(self, n_fft: int):
        super().__init__()
        self.register_buffer("window", torch.hann_window(n_fft))


class FakeMelSpectrogram(nn.Module):
    """Stands in for torchaudio's, which has no CPU wheel here: the same buffers under the same names."""

    def __init__(self, sample_rate: int, n_fft: int, hop_length: int, n_mels: int, center: bool, power: int):
        super().__init__()
        self.spectrogram, self.mel_scale = FakeSpectrogram(n_fft), FakeMelScale(n_mels, n_fft, sample_rate)


@pytest.fixture
def package(monkeypatch):
    """The reference package's modules, with what they import but do not need here stubbed."""
    stubs = {name: types.ModuleType(name) for name in ("torchaudio", "torchaudio.transforms", "torchaudio.functional")}
    functional = types.ModuleType("torchaudio.functional.functional")
    functional._hz_to_mel = functional._mel_to_hz = None
    stubs["torchaudio.functional.functional"] = functional
    stubs["torchaudio"].transforms = stubs["torchaudio.transforms"]
    stubs["torchaudio.transforms"].MelSpectrogram = FakeMelSpectrogram
    stubs["encodec"] = types.ModuleType("encodec")
    stubs["encodec"].EncodecModel = object
    for name, module in stubs.items():
        monkeypatch.setitem(sys.modules, name, module)
    for name in [name for name in sys.modules if name.split(".")[0] == "vocos"]:
        monkeypatch.delitem(sys.modules, name)
    pytest.importorskip("vocos.models", exc_type=ImportError)
    from vocos import feature_extractors, heads, models, pretrained

    yield types.SimpleNamespace(features=feature_extractors, heads=heads, models=models, pretrained=pretrained)
    for name in [name for name in sys.modules if name.split(".")[0] == "vocos"]:
        del sys.modules[name]


def describe(backbone: dict, head: dict, features: tuple[str, dict]) -> dict:
    """A config.yaml as the official folders have it."""
    return {
        "feature_extractor": {"class_path": f"vocos.feature_extractors.{features[0]}", "init_args": features[1]},
        "backbone": {"class_path": "vocos.models.VocosBackbone", "init_args": backbone},
        "head": {"class_path": "vocos.heads.ISTFTHead", "init_args": head},
    }


def redraw(module: nn.Module) -> None:
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)


def write(folder, config: dict, state: dict) -> None:
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    torch.save(state, folder / "pytorch_model.bin")


def mel_reference(package, folder, backbone: dict, head: dict, features: dict):
    model = package.pretrained.Vocos(
        package.features.MelSpectrogramFeatures(**features),
        package.models.VocosBackbone(**backbone),
        package.heads.ISTFTHead(**head),
    ).eval()
    redraw(model)
    write(folder, describe(backbone, head, ("MelSpectrogramFeatures", features)), model.state_dict())
    return model


class Codes(nn.Module):
    """The part of the reference's EnCodec features that its weights hold; the class itself downloads EnCodec."""

    def __init__(self, n_codebooks: int, dim: int):
        super().__init__()
        self.codebook_weights = nn.Parameter(torch.randn(n_codebooks * 1024, dim))


def decode_codes(reference: nn.Module, codes: torch.Tensor, bandwidth_id: int) -> torch.Tensor:
    """What the reference makes of codes [B, K, T]; its codebooks are one table, one after the other."""
    rows = (codes + 1024 * torch.arange(codes.shape[1])[None, :, None]).permute(1, 0, 2)
    embedded = reference.feature_extractor.codebook_weights[rows].sum(0).mT
    return reference.decode(embedded, bandwidth_id=torch.tensor([bandwidth_id]))


@pytest.mark.parametrize("padding", ["center", "same"])
def test_mel_variant(package, padding, tmp_path):
    features = {"sample_rate": 24000, "n_fft": 64, "hop_length": 16, "n_mels": 10, "padding": padding}
    backbone = {"input_channels": 10, "dim": 16, "intermediate_dim": 40, "num_layers": 3}
    expected = mel_reference(
        package, tmp_path, backbone, {"dim": 16, "n_fft": 64, "hop_length": 16, "padding": padding}, features
    )
    model = nexus.load(tmp_path)
    assert model.config.padding == padding
    mel = torch.randn(2, 10, 23)
    waveform = expected.decode(mel)
    assert waveform.std() > 1e-3
    torch.testing.assert_close(model.decode(mel)[:, 0], waveform, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("n_codebooks", [2, 4, 8])
def test_code_variant(package, n_codebooks, tmp_path):
    backbone = {"input_channels": 12, "dim": 16, "intermediate_dim": 40, "num_layers": 2, "adanorm_num_embeddings": 3}
    head = {"dim": 16, "n_fft": 80, "hop_length": 20, "padding": "same"}
    expected = package.pretrained.Vocos(
        Codes(8, 12), package.models.VocosBackbone(**backbone), package.heads.ISTFTHead(**head)
    ).eval()
    redraw(expected)
    features = {"encodec_model": "encodec_24khz", "bandwidths": [1.5, 3.0, 6.0]}
    write(tmp_path, describe(backbone, head, ("EncodecFeatures", features)), expected.state_dict())
    model = nexus.load(tmp_path)
    codes = torch.randint(1024, (2, n_codebooks, 17))
    waveform = decode_codes(expected, codes, [1.5, 3.0, 6.0].index(n_codebooks * 0.75))
    assert waveform.std() > 1e-3
    torch.testing.assert_close(model.decode_codes(codes)[:, 0], waveform, atol=1e-5, rtol=1e-4)


def test_what_does_not_fit_is_named(package, tmp_path):
    features = {"sample_rate": 24000, "n_fft": 64, "hop_length": 16, "n_mels": 10, "padding": "center"}
    backbone = {"input_channels": 10, "dim": 16, "intermediate_dim": 40, "num_layers": 1}
    head = {"dim": 16, "n_fft": 64, "hop_length": 16, "padding": "center"}
    expected = mel_reference(package, tmp_path, backbone, head, features)
    state = expected.state_dict() | {"backbone.surprise": torch.zeros(1)}
    state.pop("head.out.bias")
    torch.save(state, tmp_path / "pytorch_model.bin")
    with pytest.raises(ValueError, match=r"head\.bias.*surprise"):
        nexus.load(tmp_path)


def test_presets_and_other_classes():
    head = {"dim": 384, "n_fft": 1280, "hop_length": 320, "padding": "same"}
    backbone = {
        "input_channels": 128,
        "dim": 384,
        "intermediate_dim": 1152,
        "num_layers": 8,
        "adanorm_num_embeddings": 4,
    }
    codes = {"encodec_model": "encodec_24khz", "bandwidths": [1.5, 3.0, 6.0, 12.0]}
    config = describe(backbone, head, ("EncodecFeatures", codes))
    assert vocos.config_from_yaml(config, "x") == VocosConfig.encodec_24khz()
    config["head"]["class_path"] = "vocos.heads.IMDCTCosHead"
    with pytest.raises(ValueError, match="IMDCTCosHead is not supported"):
        vocos.config_from_yaml(config, "x")
    with pytest.raises(ValueError, match="no class_path"):
        vocos.config_from_yaml({"backbone": {}}, "x")
    assert VocosConfig.mel_24khz().mel == MelConfig.vocos()


@pytest.mark.slow
def test_official_widths(package, tmp_path):
    features = {"sample_rate": 24000, "n_fft": 1024, "hop_length": 256, "n_mels": 100, "padding": "center"}
    backbone = {"input_channels": 100, "dim": 512, "intermediate_dim": 1536, "num_layers": 8}
    head = {"dim": 512, "n_fft": 1024, "hop_length": 256, "padding": "center"}
    expected = package.pretrained.Vocos(
        package.features.MelSpectrogramFeatures(**features),
        package.models.VocosBackbone(**backbone),
        package.heads.ISTFTHead(**head),
    ).eval()
    write(tmp_path, describe(backbone, head, ("MelSpectrogramFeatures", features)), expected.state_dict())
    model = nexus.load(tmp_path)
    assert model.config == VocosConfig.mel_24khz()
    mel = torch.randn(2, 100, 61)
    waveform = expected.decode(mel)
    assert waveform.std() > 1e-3
    assert (model.decode(mel)[:, 0] - waveform).abs().max() / waveform.abs().max() < 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("n_codebooks", [2, 4, 8, 16])
def test_official_widths_of_codes(package, tmp_path, n_codebooks):
    torch.manual_seed(0)
    bandwidths = [1.5, 3.0, 6.0, 12.0]
    backbone = {"input_channels": 128, "dim": 384, "intermediate_dim": 1152, "num_layers": 8}
    backbone["adanorm_num_embeddings"] = len(bandwidths)
    head = {"dim": 384, "n_fft": 1280, "hop_length": 320, "padding": "same"}
    expected = package.pretrained.Vocos(
        Codes(16, 128), package.models.VocosBackbone(**backbone), package.heads.ISTFTHead(**head)
    ).eval()
    for module in expected.modules():
        if isinstance(module, nn.Embedding):  # untrained, the norms of all bandwidths are one
            nn.init.normal_(module.weight, mean=1.0, std=0.2)
    features = {"encodec_model": "encodec_24khz", "bandwidths": bandwidths}
    write(tmp_path, describe(backbone, head, ("EncodecFeatures", features)), expected.state_dict())
    model = nexus.load(tmp_path)
    assert model.config == VocosConfig.encodec_24khz()
    codes = torch.randint(1024, (2, n_codebooks, 61))
    waveform = decode_codes(expected, codes, bandwidths.index(n_codebooks * 0.75))
    assert waveform.std() > 1e-3
    assert (model.decode_codes(codes)[:, 0] - waveform).abs().max() / waveform.abs().max() < 1e-4
