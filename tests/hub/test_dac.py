"""DAC against transformers' class and Descript's package, through the layouts that official weights have."""

import re
import sys
import types

import pytest
import torch
from torch import nn

import nexus
from nexus.codecs.dac import Dac, DacConfig
from nexus.hub import dac

transformers = pytest.importorskip("transformers")

VARIANTS = {
    "even": {"downsampling_ratios": [2, 4], "sampling_rate": 44100},
    "odd": {"downsampling_ratios": [2, 5], "sampling_rate": 24000, "n_codebooks": 5},
}
SMALL = {"encoder_hidden_size": 8, "decoder_hidden_size": 32, "codebook_size": 32, "codebook_dim": 4, "n_codebooks": 3}


@torch.no_grad()
def redraw(model: nn.Module) -> None:
    """Signals of about unit size at every depth, Snakes of many frequencies, codes all over the codebooks."""
    torch.manual_seed(0)
    for name, parameter in model.named_parameters():
        noise = torch.randn_like(parameter)
        if name.endswith("alpha"):
            parameter.copy_(0.3 + noise.abs())
        elif name.endswith("bias"):
            parameter.copy_(0.1 * noise)
        elif "codebook" in name:
            parameter.copy_(noise)
        else:
            parameter.copy_(noise * 0.5 * parameter[0].numel() ** -0.5)


def reference(**options):
    model = transformers.DacModel(transformers.DacConfig(**(SMALL | options))).eval()
    redraw(model)
    return model


def agree(model: Dac, expected, lengths=(1, 77, 1003)) -> None:
    """Codes identical, waveforms to 1e-5, at lengths that are not whole frames; the reference's are padded before."""
    for length in lengths:
        torch.manual_seed(1)
        x = torch.randn(2, 1, length)
        padded = nn.functional.pad(x, (0, -length % model.hop_length))
        with torch.no_grad():
            encoded = expected.encode(padded)
            waveform = expected.decode(audio_codes=encoded.audio_codes).audio_values[:, None]
        codes = model.encode(x)
        assert torch.equal(codes, encoded.audio_codes)
        torch.testing.assert_close(model.decode(codes), waveform, atol=1e-5, rtol=1e-4)
        assert model.decode(codes, length=length).shape == (2, 1, length)
    assert min(len(codes[:, k].unique()) for k in range(codes.shape[1])) > 3
    assert waveform.std() > 1e-2


@pytest.mark.parametrize("variant", VARIANTS)
@torch.no_grad()
def test_transformers_folder(variant, tmp_path):
    expected = reference(**VARIANTS[variant])
    expected.save_pretrained(tmp_path)
    model = nexus.load(tmp_path)
    assert model.sample_rate == VARIANTS[variant]["sampling_rate"]
    agree(model, expected)
    x = torch.randn(2, 1, 400)
    fewer = model.encode(x, n_codebooks=2)
    assert torch.equal(fewer, expected.encode(x, n_quantizers=2).audio_codes)
    waveform = expected.decode(audio_codes=fewer.clone()).audio_values
    torch.testing.assert_close(model.decode(fewer)[:, 0], waveform, atol=1e-5, rtol=1e-4)


def original_name(name: str) -> str:
    """The name in Descript's files of a tensor of transformers'."""
    unit, stage = {"snake1": 0, "conv1": 1, "snake2": 2, "conv2": 3}, {"conv1": 0, "snake1": 3, "conv2": 4}
    side = name.split(".")[0]
    if side == "quantizer":
        return name
    if match := re.match(r"\w+\.block\.(\d+)\.res_unit(\d)\.(\w+)\.(.*)", name):
        i, j, layer, rest = match.groups()
        j = int(j) - 1 if side == "encoder" else int(j) + 1
        name = f"block.{int(i) + 1}.block.{j}.block.{unit[layer]}.{rest}"
    elif match := re.match(r"\w+\.block\.(\d+)\.(\w+)\.(.*)", name):
        i, layer, rest = match.groups()
        place = {"snake1": 3, "conv1": 4} if side == "encoder" else {"snake1": 0, "conv_t1": 1}
        name = f"block.{int(i) + 1}.block.{place[layer]}.{rest}"
    else:
        stage = {"conv1": 0, "snake1": 3, "conv2": 4}  # after two stages
        _, layer, rest = name.split(".")
        name = f"block.{stage[layer]}.{rest}"
    return f"{side}.{name if side == 'encoder' else name.replace('block', 'model', 1)}"


def original_state(expected, spelling: str) -> dict[str, torch.Tensor]:
    """Descript's names, weights split into sizes and directions of another size than the weights."""
    size, direction = {
        "old": ("weight_g", "weight_v"),
        "new": ("parametrizations.weight.original0", "parametrizations.weight.original1"),
    }[spelling]
    state = {}
    for name, tensor in expected.state_dict().items():
        name = original_name(name)
        if name.endswith(".weight") and "codebook" not in name:
            stem = name.removesuffix("weight")
            state[stem + size] = tensor.flatten(1).norm(dim=1)[:, None, None]
            state[stem + direction] = 3 * tensor
        else:
            state[name] = tensor
    return state


def original_arguments(expected) -> dict:
    config = expected.config
    return {
        "encoder_dim": config.encoder_hidden_size,
        "encoder_rates": list(config.downsampling_ratios),
        "latent_dim": config.hidden_size,
        "decoder_dim": config.decoder_hidden_size,
        "decoder_rates": list(config.downsampling_ratios)[::-1],
        "n_codebooks": config.n_codebooks,
        "codebook_size": config.codebook_size,
        "codebook_dim": config.codebook_dim,
        "quantizer_dropout": 0.5,
        "sample_rate": config.sampling_rate,
    }


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("spelling", ["old", "new"])
@pytest.mark.parametrize("in_folder", [False, True])
def test_original_file(variant, spelling, in_folder, tmp_path):
    expected = reference(**VARIANTS[variant])
    content = {
        "state_dict": original_state(expected, spelling),
        "metadata": {"kwargs": original_arguments(expected)},
    }
    path = tmp_path / "weights_24khz.pth"
    torch.save(content, path)
    model = nexus.load(tmp_path if in_folder else path)
    assert model.config.quantizer_dropout == 0.5
    agree(model, expected)


def test_a_file_that_does_not_say_what_it_is(tmp_path):
    expected = reference(**VARIANTS["even"])
    state, path = original_state(expected, "old"), tmp_path / "x.pth"
    torch.save({"state_dict": state, "metadata": {}}, path)
    with pytest.raises(ValueError, match=r"does not say what model.*kwargs"):
        nexus.load(path)
    arguments = original_arguments(expected)
    torch.save({"state_dict": state, "metadata": {"kwargs": arguments | {"decoder_rates": [2, 4]}}}, path)
    with pytest.raises(ValueError, match="reverse order"):
        nexus.load(path)
    state["surprise"] = state.pop("decoder.model.4.bias")
    torch.save({"state_dict": state, "metadata": {"kwargs": arguments}}, path)
    with pytest.raises(ValueError, match=r"missing: decoder\.layers\.4\.conv\.bias.*unexpected: surprise"):
        nexus.load(path)
    for name in ("weights.pth", "weights_16khz.pth"):
        torch.save({}, tmp_path / name)
    with pytest.raises(ValueError, match=r"several models \(weights\.pth, weights_16khz\.pth\)"):
        nexus.load(tmp_path)


def test_presets():
    values = {"sampling_rate": 44100, "quantizer_dropout": 0.5}
    assert dac.config_from_transformers(values, "x") == DacConfig.dac_44khz()
    values = {"downsampling_ratios": [2, 4, 5, 8], "quantizer_dropout": 0.5}
    config = dac.config_from_transformers(values | {"sampling_rate": 16000, "n_codebooks": 12}, "x")
    assert config == DacConfig.dac_16khz()
    config = dac.config_from_transformers(values | {"sampling_rate": 24000, "n_codebooks": 32}, "x")
    assert config == DacConfig.dac_24khz()


@pytest.fixture
def package(monkeypatch):
    """Descript's package, its class's base from audiotools stubbed by what it needs of it here: nothing."""
    stubs = {name: types.ModuleType(name) for name in ("audiotools", "audiotools.ml", "argbind", "tqdm")}
    base = type("BaseModel", (nn.Module,), {"INTERN": [], "EXTERN": [], "device": torch.device("cpu")})
    stubs["audiotools.ml"].BaseModel, stubs["audiotools.ml"].Accelerator = base, object
    stubs["audiotools"].ml, stubs["audiotools"].AudioSignal = stubs["audiotools.ml"], object
    stubs["audiotools"].STFTParams = object
    stubs["argbind"].bind = lambda *args, **options: lambda function: function
    for name, module in stubs.items():
        monkeypatch.setitem(sys.modules, name, module)
    for name in [name for name in sys.modules if name.split(".")[0] == "dac"]:
        monkeypatch.delitem(sys.modules, name)
    yield pytest.importorskip("dac.model.dac", exc_type=ImportError)
    for name in [name for name in sys.modules if name.split(".")[0] == "dac"]:
        del sys.modules[name]


@pytest.mark.parametrize("latent_dim", [None, 12])
@pytest.mark.filterwarnings("ignore:.*weight_norm.*:FutureWarning", "ignore::DeprecationWarning")
def test_package(package, latent_dim, tmp_path):
    arguments = {"encoder_dim": 8, "encoder_rates": [2, 5], "latent_dim": latent_dim, "decoder_dim": 32}
    arguments |= {"decoder_rates": [5, 2], "n_codebooks": 3, "codebook_size": 32, "codebook_dim": 4}
    arguments |= {"quantizer_dropout": 0.5, "sample_rate": 16000}
    expected = package.DAC(**arguments).eval()
    redraw(expected)
    path = tmp_path / "weights.pth"
    torch.save({"state_dict": expected.state_dict(), "metadata": {"kwargs": arguments}}, path)
    model, x = nexus.load(path), torch.randn(2, 1, 1003)
    with torch.no_grad():
        latent, codes, *_ = expected.encode(expected.preprocess(x, 16000))
        waveform = expected.decode(latent)
    assert len(codes.unique()) > 10
    assert waveform.std() > 1e-2
    assert torch.equal(model.encode(x), codes)
    torch.testing.assert_close(model.decode(codes), waveform, atol=1e-5, rtol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["dac_16khz", "dac_24khz", "dac_44khz"])
def test_official_widths(name, tmp_path):
    config: DacConfig = getattr(DacConfig, name)()
    options = {"downsampling_ratios": list(config.ratios), "n_codebooks": config.n_codebooks}
    expected = transformers.DacModel(transformers.DacConfig(sampling_rate=config.sample_rate, **options)).eval()
    redraw(expected)
    expected.save_pretrained(tmp_path)
    model = nexus.load(tmp_path)
    assert model.config.ratios == config.ratios and model.config.latent_dim == config.latent_dim
    agree(model, expected, lengths=(9999,))
