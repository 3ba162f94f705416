"""EnCodec against transformers' class, through the layouts that official weights have."""

import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file

import nexus
from nexus.codecs.encodec import EncodecConfig
from nexus.codecs.encodec_windows import WindowedEncodec, WindowedEncodecConfig
from nexus.hub import encodec
from nexus.hub.load import kind_of
from nexus.hub.source import Source

transformers = pytest.importorskip("transformers")

SMALL = {"num_filters": 4, "hidden_size": 16, "codebook_size": 32, "codebook_dim": 16}
VARIANTS = {
    "24khz": {"target_bandwidths": [1.5, 3.0], **SMALL},
    "32khz": {
        "target_bandwidths": [1.0],
        "sampling_rate": 32000,
        "upsampling_ratios": [8, 5, 4, 4],
        "use_causal_conv": False,
        "use_conv_shortcut": False,
        **SMALL,
    },
    "trimmed": {"target_bandwidths": [1.5], "trim_right_ratio": 0.5, "num_residual_layers": 2, "pad_mode": "constant"}
    | SMALL,
}
STEREO = {
    "target_bandwidths": [3.0, 6.0],
    "sampling_rate": 48000,
    "audio_channels": 2,
    "normalize": True,
    "chunk_length_s": 0.1,
    "overlap": 0.01,
    "norm_type": "time_group_norm",
    "use_causal_conv": False,
    **SMALL,
}


def reference(**options):
    """transformers' EnCodec with nothing left at zero: weights and codebooks redrawn."""
    torch.manual_seed(0)
    model = transformers.EncodecModel(transformers.EncodecConfig(**options)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(
                torch.randn_like(parameter) * 0.3
                + (1.0 if parameter.ndim == 3 and parameter.shape[1:].numel() == 1 else 0.0)
            )
        latent = model.encoder(torch.randn(1, model.config.audio_channels, 5000))
        for layer in model.quantizer.layers:
            layer.codebook.embed.copy_(torch.randn_like(layer.codebook.embed) * latent.std())
            layer.codebook.cluster_size.fill_(1)
    return model


def old_weight_norm(name: str) -> str:
    return name.replace("parametrizations.weight.original0", "weight_g").replace(
        "parametrizations.weight.original1", "weight_v"
    )


def original_names(name: str) -> str:
    """The names of the original project's checkpoints."""
    name = name.replace("quantizer.layers.", "quantizer.vq.layers.").replace(".codebook.", "._codebook.")
    for side in ("encoder", "decoder"):
        name = name.replace(f"{side}.layers.", f"{side}.model.")
    if ".conv." in name:
        name = name.replace(".conv.", ".conv.conv.")
    return old_weight_norm(name)


def transposed_names(state: dict) -> dict:
    """Upsampling layers of the original are called convtr; they stand where the decoder's weight is [2 n, n, k]."""
    renamed = {}
    for name, tensor in state.items():
        parts = name.split(".")
        stem = ".".join(parts[:3])
        weight = state.get(f"{stem}.conv.conv.weight_v")
        is_up = parts[0] == "decoder" and weight is not None and weight.shape[0] == 2 * weight.shape[1]
        renamed[name.replace(".conv.conv.", ".convtr.convtr.") if is_up else name] = tensor
    return renamed


def original_group_names(model) -> dict:
    """The original's names of a model with group norms, which stand beside the convolution in a wrapper of theirs."""
    ups = {name for name, module in model.named_modules() if isinstance(module, torch.nn.ConvTranspose1d)}
    state = {}
    for name, tensor in model.state_dict().items():
        stem, _, leaf = name.rpartition(".")
        layer, _, part = stem.rpartition(".")
        if part in ("conv", "norm"):
            wrapper = "convtr" if f"{layer}.conv" in ups else "conv"
            name = f"{layer}.{wrapper}.{wrapper if part == 'conv' else 'norm'}.{leaf}"
        name = name.replace("quantizer.layers.", "quantizer.vq.layers.").replace(".codebook.", "._codebook.")
        for side in ("encoder", "decoder"):
            name = name.replace(f"{side}.layers.", f"{side}.model.")
        state[name] = tensor
    return state


def agree(model, expected, length: int = 4321) -> None:
    torch.manual_seed(1)
    x = torch.randn(2, 1, length)
    bandwidth = expected.config.target_bandwidths[-1]
    with torch.no_grad():
        codes = expected.encode(x, bandwidth=bandwidth).audio_codes[0]
        waveform = expected.decode(codes[None], [None]).audio_values
    assert len(codes.unique()) > 10
    assert waveform.std() > 1e-3
    assert torch.equal(model.encode(x), codes)
    torch.testing.assert_close(model.decode(codes), waveform, atol=1e-5, rtol=1e-4)
    assert model.encode(x).shape[1] == codes.shape[1]


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("spelling", ["new", "old"])
def test_transformers_folder(variant, spelling, tmp_path):
    expected = reference(**VARIANTS[variant])
    expected.save_pretrained(tmp_path)
    if spelling == "old":
        state = {old_weight_norm(name): tensor.clone() for name, tensor in expected.state_dict().items()}
        save_file(state, tmp_path / "model.safetensors")
    agree(nexus.load(tmp_path), expected)


@pytest.mark.parametrize("bandwidth", [1.5, 3.0])
def test_bandwidths(bandwidth, tmp_path):
    expected = reference(**VARIANTS["24khz"])
    expected.save_pretrained(tmp_path)
    x = torch.randn(2, 1, 3000)
    codes = expected.encode(x, bandwidth=bandwidth).audio_codes[0]
    assert torch.equal(nexus.load(tmp_path).encode(x, bandwidth=bandwidth), codes)


@pytest.mark.parametrize("variant", ["24khz", "32khz"])
@pytest.mark.parametrize("wrapped", [True, False])
def test_original_checkpoint(variant, wrapped, tmp_path):
    expected = reference(**VARIANTS[variant])
    state = transposed_names({original_names(name): tensor for name, tensor in expected.state_dict().items()})
    assert any("convtr" in name for name in state)
    path = tmp_path / "encodec.th"
    torch.save({"best_state": state} if wrapped else state, path)
    model = nexus.load(path)
    assert model.sample_rate == expected.config.sampling_rate
    assert model.config.seanet.ratios == tuple(expected.config.upsampling_ratios)
    agree(model, expected)


def test_official_presets_are_transformers_defaults():
    config, preset = encodec.config_from_transformers({"model_type": "encodec"}, "x"), EncodecConfig.encodec_24khz()
    assert config == replace(preset, seanet=replace(preset.seanet, weight_norm=False))  # weights are loaded folded


def test_what_does_not_fit_is_named(tmp_path):
    expected = reference(**VARIANTS["24khz"])
    expected.save_pretrained(tmp_path)
    state = expected.state_dict()
    lost = "decoder.layers.0.conv.bias"
    save_file({n: t.clone() for n, t in state.items() if n != lost}, tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match=lost):
        nexus.load(tmp_path)


def windows_agree(model, expected, length: int, bandwidth: float | None = None) -> None:
    """Codes, scales and waveform of every window; where a batch's two items differ in loudness."""
    torch.manual_seed(1)
    x = torch.randn(2, 2, length) * torch.tensor([0.05, 0.6])[:, None, None]
    bandwidth = bandwidth or expected.config.target_bandwidths[-1]
    with torch.no_grad():
        theirs = expected.encode(x, bandwidth=bandwidth)
        waveform = expected.decode(
            theirs.audio_codes, theirs.audio_scales, last_frame_pad_length=theirs.last_frame_pad_length
        ).audio_values[..., :length]
    ours = model.encode(x, bandwidth=bandwidth)
    codes = torch.cat(list(theirs.audio_codes), dim=-1)
    codes = codes[..., : codes.shape[-1] - theirs.last_frame_pad_length]
    assert len(codes.unique()) > 10
    assert waveform.std() > 1e-3
    assert torch.equal(ours.codes, codes)
    torch.testing.assert_close(ours.scales, torch.cat(theirs.audio_scales, dim=1))
    torch.testing.assert_close(model.decode(ours), waveform, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("length", [12345, 4800, 3001, 14256])
def test_48khz_transformers_folder(length, tmp_path):
    expected = reference(**STEREO)
    expected.save_pretrained(tmp_path)
    assert kind_of(tmp_path) == "WindowedEncodec"
    windows_agree(nexus.load(tmp_path), expected, length)


def test_48khz_bandwidths(tmp_path):
    expected = reference(**STEREO)
    expected.save_pretrained(tmp_path)
    model = nexus.load(tmp_path)
    windows_agree(model, expected, 5000, bandwidth=3.0)
    assert model.encode(torch.randn(1, 2, 999), bandwidth=3.0).codes.shape[1] == 4


@pytest.mark.parametrize("in_folder", [True, False])
def test_48khz_original_checkpoint(in_folder, tmp_path):
    expected = reference(**STEREO | {"chunk_length_s": 1.0})
    path = tmp_path / "encodec_48khz-7e698e3e.th"
    torch.save(original_group_names(expected), path)
    model = nexus.load(tmp_path if in_folder else path)
    assert isinstance(model, WindowedEncodec)
    assert kind_of(path) == "WindowedEncodec"
    windows_agree(model, expected, 50000)


def test_48khz_preset_is_the_official_config(tmp_path):
    values = {
        "audio_channels": 2,
        "chunk_length_s": 1.0,
        "norm_type": "time_group_norm",
        "normalize": True,
        "overlap": 0.01,
        "sampling_rate": 48000,
        "target_bandwidths": [3.0, 6.0, 12.0, 24.0],
        "use_causal_conv": False,
    }
    assert encodec.windows_from_transformers(values, "x") == WindowedEncodecConfig.encodec_48khz()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"normalize": False}, "not normalised"),
        ({"norm_type": "layer_norm"}, "layer_norm"),
        ({"chunk_length_s": None}, "come together"),
    ],
)
def test_odd_mixtures_are_refused(change, message, tmp_path):
    reference(**STEREO).save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text()) | change
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match=message):
        encodec.load(Source("x", tmp_path))


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["24khz", "32khz"])
def test_official_widths(variant, tmp_path):
    options = (
        {}
        if variant == "24khz"
        else {
            "num_filters": 64,
            "sampling_rate": 32000,
            "upsampling_ratios": [8, 5, 4, 4],
            "use_causal_conv": False,
            "use_conv_shortcut": False,
            "codebook_size": 2048,
            "target_bandwidths": [2.2],
        }
    )
    torch.manual_seed(0)
    expected = transformers.EncodecModel(transformers.EncodecConfig(**options)).eval()
    with torch.no_grad():
        latent = expected.encoder(torch.randn(1, 1, 16000))
        for layer in expected.quantizer.layers:
            layer.codebook.embed.copy_(torch.randn_like(layer.codebook.embed) * latent.std() / 4)
    expected.save_pretrained(tmp_path)
    model = nexus.load(tmp_path)
    assert model.config == (EncodecConfig.encodec_24khz() if variant == "24khz" else EncodecConfig.encodec_32khz())
    x = torch.randn(2, 1, 12345)
    bandwidth = expected.config.target_bandwidths[-1]
    with torch.no_grad():
        codes = expected.encode(x, bandwidth=bandwidth).audio_codes[0]
        waveform = expected.decode(codes[None], [None]).audio_values
    assert (model.encode(x) == codes).float().mean() > 0.999
    assert waveform.std() > 1e-3
    error = (model.decode(codes) - waveform).abs().max() / waveform.abs().max()
    assert error < 1e-4


@pytest.mark.slow
def test_official_widths_48khz(tmp_path):
    options = STEREO | {"target_bandwidths": [3.0, 6.0, 12.0, 24.0], "chunk_length_s": 1.0}
    for name in SMALL:
        del options[name]
    expected = reference(**options)
    expected.save_pretrained(tmp_path)
    model = nexus.load(tmp_path)
    assert model.config == WindowedEncodecConfig.encodec_48khz()
    x = torch.randn(2, 2, 61234) * 0.1
    with torch.no_grad():
        theirs = expected.encode(x, bandwidth=24.0)
        waveform = expected.decode(
            theirs.audio_codes, theirs.audio_scales, last_frame_pad_length=theirs.last_frame_pad_length
        ).audio_values[..., : x.shape[-1]]
    codes = torch.cat(list(theirs.audio_codes), dim=-1)
    codes = codes[..., : codes.shape[-1] - theirs.last_frame_pad_length]
    ours = model.encode(x)
    assert len(codes.unique()) > 500
    assert (ours.codes == codes).float().mean() > 0.999
    error = (model.decode(ours._replace(codes=codes)) - waveform).abs().max() / waveform.abs().max()
    assert error < 1e-4
