"""NeMo's codecs through `.nemo` archives: against a plain writing-down of the published network, and against NeMo's."""

import importlib.util
import io
import os
import sys
import tarfile
import types
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
import yaml
from torch import nn

import nexus
from nexus.codecs.fsq_codec import FSQCodec, FSQCodecConfig
from nexus.hub.load import kind_of
from nexus.process.fsq_judges import fsq_judges
from nexus.process.least_squares import with_logits

MODULES = "nemo.collections.tts.modules.audio_codec_modules"
SMALL = {
    "44khz": {
        "audio_encoder": {"down_sample_rates": [2, 4], "encoded_dim": 16, "base_channels": 4, "activation": "lrelu"},
        "audio_decoder": {
            "up_sample_rates": [4, 2],
            "input_dim": 16,
            "base_channels": 16,
            "activation": "half_snake",
            "output_activation": "clamp",
        },
        "vector_quantizer": {"num_groups": 4, "num_levels_per_group": [8, 5, 5, 5]},
        "sample_rate": 44100,
        "samples_per_frame": 8,
    },
    "low frame rate, odd strides": {
        "audio_encoder": {
            "down_sample_rates": [2, 3],
            "encoded_dim": 8,
            "base_channels": 4,
            "resblock_dilation_sizes": [1],
            "resblock_kernel_sizes": [3, 5],
            "activation": "elu",
        },
        "audio_decoder": {
            "up_sample_rates": [3, 2],
            "input_dim": 8,
            "base_channels": 16,
            "activation": "snake",
            "output_activation": "tanh",
            "pad_mode": "zeros",
        },
        "vector_quantizer": {"num_groups": 2, "num_levels_per_group": [8, 7, 6, 6]},
        "sample_rate": 22050,
        "samples_per_frame": 6,
    },
}
CLASSES = {
    "audio_encoder": "HiFiGANEncoder",
    "audio_decoder": "HiFiGANDecoder",
    "vector_quantizer": "GroupFiniteScalarQuantizer",
}


def described(values: dict) -> dict:
    """As `model_config.yaml` has it, with what only training needs."""
    named = {name: {"_target_": f"{MODULES}.{CLASSES[name]}", **values[name]} for name in CLASSES}
    return values | named | {"mel_loss_l1_scale": 10.0, "discriminator": {"_target_": f"{MODULES}.Discriminator"}}


def write(path, values: dict, state: dict, mode: str = "w:") -> None:
    weights = io.BytesIO()
    torch.save(state, weights)
    with tarfile.open(path, mode) as archive:
        for name, content in (
            ("./model_config.yaml", yaml.safe_dump(described(values)).encode()),
            ("./model_weights.ckpt", weights.getvalue()),
        ):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))


def redrawn(state: dict) -> dict:
    """Weights that keep signals alive: sizes of directions near one, alphas and biases that matter."""
    torch.manual_seed(0)
    drawn = {}
    for name, tensor in state.items():
        if not tensor.is_floating_point():
            drawn[name] = tensor
        elif name.endswith(("original0", "weight_g", "alpha")):
            drawn[name] = 1 + 0.2 * torch.randn_like(tensor)
        else:
            drawn[name] = 0.3 * torch.randn_like(tensor)
    return drawn


def published(values: dict, old_norms: bool) -> dict:
    """Tensors under the published names, in either spelling of weight norm, with leftovers of training."""
    size, direction = (
        ("weight_g", "weight_v") if old_norms else [f"parametrizations.weight.original{i}" for i in (0, 1)]
    )
    state: dict[str, torch.Tensor] = {}

    def conv(name: str, c_in: int, c_out: int, kernel_size: int, transposed: bool = False):
        shape = (c_in, c_out, kernel_size) if transposed else (c_out, c_in, kernel_size)
        state[f"{name}.conv.{size}"] = torch.zeros(shape[0], 1, 1)
        state[f"{name}.conv.{direction}"] = torch.zeros(shape)
        state[f"{name}.conv.bias"] = torch.zeros(c_out)

    def bend(name: str, kind: str, dim: int):
        if kind == "half_snake":
            state[f"{name}.activation.snake_act.alpha"] = torch.zeros(1, dim // 2, 1)
        elif kind == "snake":
            state[f"{name}.activation.alpha"] = torch.zeros(1, dim, 1)

    def blocks(name: str, half: dict, dim: int):
        for j, kernel_size in enumerate(half.get("resblock_kernel_sizes", (3, 7, 11))):
            for k, _ in enumerate(half.get("resblock_dilation_sizes", (1, 3, 5))):
                for part in ("input", "skip"):
                    bend(f"{name}.res_blocks.{j}.res_blocks.{k}.{part}_activation", half["activation"], dim)
                    conv(f"{name}.res_blocks.{j}.res_blocks.{k}.{part}_conv", dim, dim, kernel_size)

    down, up = values["audio_encoder"], values["audio_decoder"]
    dim = down["base_channels"]
    conv("audio_encoder.pre_conv", 1, dim, 7)
    for i, ratio in enumerate(down["down_sample_rates"]):
        blocks(f"audio_encoder.res_layers.{i}", down, dim)
        bend(f"audio_encoder.activations.{i}", down["activation"], dim)
        conv(f"audio_encoder.down_sample_conv_layers.{i}", dim, 2 * dim, 2 * ratio)
        dim *= 2
    bend("audio_encoder.post_activation", down["activation"], dim)
    conv("audio_encoder.post_conv", dim, down["encoded_dim"], 7)
    dim = up["base_channels"]
    conv("audio_decoder.pre_conv", up["input_dim"], dim, 7)
    for i, ratio in enumerate(up["up_sample_rates"]):
        bend(f"audio_decoder.activations.{i}", up["activation"], dim)
        conv(f"audio_decoder.up_sample_conv_layers.{i}", dim, dim // 2, 2 * ratio, transposed=True)
        dim //= 2
        blocks(f"audio_decoder.res_layers.{i}", up, dim)
    bend("audio_decoder.post_activation", up["activation"], dim)
    conv("audio_decoder.post_conv", dim, 1, 3)
    levels = torch.tensor(values["vector_quantizer"]["num_levels_per_group"], dtype=torch.int32)[None, :, None]
    for g in range(values["vector_quantizer"]["num_groups"]):
        state[f"vector_quantizer.fsqs.{g}.num_levels"] = levels
        state[f"vector_quantizer.fsqs.{g}.dim_base_index"] = torch.cat(
            [levels[:, :1] * 0 + 1, levels[:, :-1]], 1
        ).cumprod(1, dtype=torch.int32)
    leftovers = {
        "discriminator.discriminators.0.conv_post.conv.bias": torch.zeros(1),
        "mel_loss_fn.mel_features.0.fb": torch.zeros(1, 5, 17),
        "stft_loss_fn.loss_fns.0.window": torch.zeros(32),
    }
    return redrawn(state) | leftovers


class WrittenDown:
    """The published network in plain functions of its tensors."""

    def __init__(self, values: dict, state: dict):
        self.values, self.state = values, state

    def weights(self, name: str) -> tuple[torch.Tensor, torch.Tensor]:
        found = {key.rsplit(".", 1)[-1]: value for key, value in self.state.items() if key.startswith(f"{name}.conv.")}
        g, v = found.get("weight_g", found.get("original0")), found.get("weight_v", found.get("original1"))
        return g * v / v.flatten(1).norm(dim=1)[:, None, None], found["bias"]

    def conv(self, name: str, x: torch.Tensor, half: dict, stride: int = 1, dilation: int = 1) -> torch.Tensor:
        weight, bias = self.weights(name)
        k = weight.shape[-1]
        padding = (k - stride + 1) // 2 if stride > 1 else (k - 1) * dilation // 2
        mode = {"zeros": "constant"}.get(half.get("pad_mode", "reflect"), "reflect")
        return F.conv1d(F.pad(x, (padding, padding), mode=mode), weight, bias, stride=stride, dilation=dilation)

    def bend(self, name: str, x: torch.Tensor, kind: str) -> torch.Tensor:
        if kind == "elu":
            return F.elu(x)
        if kind == "lrelu":
            return F.leaky_relu(x, 0.01)
        key = f"{name}.activation.alpha" if kind == "snake" else f"{name}.activation.snake_act.alpha"
        alpha = self.state[key]
        bent = x[:, : alpha.shape[1]]
        return torch.cat([bent + (alpha * bent).sin() ** 2 / alpha, F.leaky_relu(x[:, alpha.shape[1] :], 0.01)], dim=1)

    def blocks(self, name: str, x: torch.Tensor, half: dict) -> torch.Tensor:
        outputs = []
        for j, _ in enumerate(half.get("resblock_kernel_sizes", (3, 7, 11))):
            y = x
            for k, dilation in enumerate(half.get("resblock_dilation_sizes", (1, 3, 5))):
                block = f"{name}.res_blocks.{j}.res_blocks.{k}"
                h = self.bend(f"{block}.input_activation", y, half["activation"])
                h = self.conv(f"{block}.input_conv", h, half, dilation=dilation)
                h = self.bend(f"{block}.skip_activation", h, half["activation"])
                y = y + self.conv(f"{block}.skip_conv", h, half)
            outputs.append(y)
        return torch.stack(outputs).mean(0)

    def latent(self, waveform: torch.Tensor) -> torch.Tensor:
        half = self.values["audio_encoder"]
        x = F.pad(waveform, (0, -waveform.shape[-1] % self.values["samples_per_frame"]))
        x = self.conv("audio_encoder.pre_conv", x, half)
        for i, ratio in enumerate(half["down_sample_rates"]):
            x = self.bend(
                f"audio_encoder.activations.{i}",
                self.blocks(f"audio_encoder.res_layers.{i}", x, half),
                half["activation"],
            )
            x = self.conv(f"audio_encoder.down_sample_conv_layers.{i}", x, half, stride=ratio)
        return self.conv(
            "audio_encoder.post_conv", self.bend("audio_encoder.post_activation", x, half["activation"]), half
        )

    def waveform(self, vectors: torch.Tensor) -> torch.Tensor:
        half = self.values["audio_decoder"]
        x = self.conv("audio_decoder.pre_conv", vectors, half)
        for i, ratio in enumerate(half["up_sample_rates"]):
            weight, bias = self.weights(f"audio_decoder.up_sample_conv_layers.{i}")
            x = self.bend(f"audio_decoder.activations.{i}", x, half["activation"])
            x = F.conv_transpose1d(x, weight, bias, ratio, (ratio + 1) // 2, ratio % 2)
            x = self.blocks(f"audio_decoder.res_layers.{i}", x, half)
        x = self.conv(
            "audio_decoder.post_conv", self.bend("audio_decoder.post_activation", x, half["activation"]), half
        )
        return x.tanh() if half["output_activation"] == "tanh" else x.clamp(-1, 1)


def close(ours: torch.Tensor, theirs: torch.Tensor, tolerance: float = 1e-5) -> bool:
    assert ours.shape == theirs.shape
    assert theirs.std() > 1e-3
    return bool((ours - theirs).abs().max() / theirs.abs().max() < tolerance)


@pytest.mark.parametrize("variant", SMALL)
@pytest.mark.parametrize(("old_norms", "mode"), [(True, "w:"), (False, "w:gz")])
@torch.no_grad()
def test_archives_hold_the_published_network(variant, old_norms, mode, tmp_path):
    values = SMALL[variant]
    state = published(values, old_norms)
    write(tmp_path / "codec.nemo", values, state, mode)
    expected, model = WrittenDown(values, state), nexus.load(tmp_path, device="cpu")
    assert isinstance(model, FSQCodec)
    assert kind_of(tmp_path) == kind_of(tmp_path / "codec.nemo") == "FSQCodec"
    assert model.hop_length == values["samples_per_frame"]
    waveform = torch.randn(2, 1, 251)
    latent = expected.latent(waveform)
    assert close(model.encoder(model.whole_frames(waveform)), latent)
    codes = model.encode(waveform)
    assert torch.equal(codes, model.quantizer.encode(latent))
    assert len(codes.unique()) > 20
    assert close(model.decode(codes), expected.waveform(model.quantizer.decode(codes)))


def test_presets_are_the_published_configurations():
    """The two recipes in NeMo's repository; sizes and rates as the cards of the weights have them."""
    from nexus.hub.nemo import config_from_yaml

    encoder = {"encoded_dim": 32, "base_channels": 48, "activation": "lrelu"}
    decoder = {"input_dim": 32, "base_channels": 768, "activation": "half_snake", "output_activation": "clamp"}
    large = {
        "sample_rate": 44100,
        "samples_per_frame": 512,
        "audio_encoder": encoder | {"down_sample_rates": [2, 4, 8, 8]},
        "audio_decoder": decoder | {"up_sample_rates": [8, 8, 4, 2]},
        "vector_quantizer": {"num_groups": 8, "num_levels_per_group": [8, 5, 5, 5]},
    }
    slow = {
        "sample_rate": 22050,
        "samples_per_frame": 1024,
        "audio_encoder": encoder | {"down_sample_rates": [2, 2, 4, 8, 8], "resblock_dilation_sizes": [1]},
        "audio_decoder": {
            "input_dim": 32,
            "base_channels": 1024,
            "activation": "lrelu",
            "up_sample_rates": [8, 8, 4, 2, 2],
            "output_activation": "tanh",
        },
        "vector_quantizer": {"num_groups": 8, "num_levels_per_group": [8, 7, 6, 6]},
    }
    assert config_from_yaml(described(large), "x") == FSQCodecConfig.audio_codec_44khz()
    assert config_from_yaml(described(slow), "x") == FSQCodecConfig.low_frame_rate_22khz()
    with torch.device("meta"):
        codecs = FSQCodec(FSQCodecConfig.audio_codec_44khz()), FSQCodec(FSQCodecConfig.low_frame_rate_22khz())
    assert [round(codec.frame_rate, 1) for codec in codecs] == [86.1, 21.5]
    assert [round(codec.bitrate / 1000, 2) for codec in codecs] == [6.87, 1.89]
    assert [codec.codebook_size for codec in codecs] == [1000, 2016]
    assert round(sum(p.numel() for p in codecs[1].parameters()) / 1e6, 1) == 112.7


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"audio_encoder": {"_target_": "x.MultiBandMelEncoder"}}, "MultiBandMelEncoder is not supported"),
        ({"audio_encoder": {"_target_": "x.CausalHiFiGANEncoder"}}, "CausalHiFiGANEncoder is not supported"),
        ({"audio_decoder": {"n_groups_equal_to_out_channels": True}}, "n_groups_equal_to_out_channels"),
        ({"audio_decoder": {"pad_mode": "circular"}}, "pad_mode"),
        ({"audio_encoder": {"encoded_dim": 12}}, "12 and 16 wide, its levels are 16"),
        ({"audio_encoder": {"down_sample_rates": [2, 2]}}, "one hop"),
        ({"samples_per_frame": 9}, "samples_per_frame 9"),
        ({"audio_decoder": {"base_channels": 1 << 40}}, "the weights hold"),
        ({"audio_encoder": {"resblock_kernel_sizes": [3] * 17}}, "lists of at most 16"),
        ({"vector_quantizer": {"num_levels_per_group": "8555"}}, "lists of at most 16, got 8555"),
        ({"audio_encoder": None}, "has no audio_encoder"),
        ({"sample_rate": None}, "not complete"),
    ],
)
def test_other_configurations_are_refused_by_name(change, message, tmp_path):
    values = SMALL["44khz"]
    state = published(values, old_norms=True)
    whole = described(values)
    for name, part in change.items():
        whole[name] = whole[name] | part if isinstance(part, dict) else part
    write_raw(tmp_path / "codec.nemo", whole, state)
    with pytest.raises(ValueError, match=message):
        nexus.load(tmp_path / "codec.nemo")


def write_raw(path, values: dict, state: dict) -> None:
    weights = io.BytesIO()
    torch.save(state, weights)
    with tarfile.open(path, "w:") as archive:
        for name, content in (
            ("model_config.yaml", yaml.safe_dump(values).encode()),
            ("model_weights.ckpt", weights.getvalue()),
        ):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))


def test_every_tensor_is_accounted_for(tmp_path):
    values = SMALL["44khz"]
    state = published(values, old_norms=True)
    write(tmp_path / "a.nemo", values, state | {"audio_encoder.surprise": torch.zeros(1)})
    with pytest.raises(ValueError, match="surprise"):
        nexus.load(tmp_path / "a.nemo")
    state.pop("audio_decoder.post_conv.conv.bias")
    write(tmp_path / "a.nemo", values, state)
    with pytest.raises(ValueError, match=r"1 missing: decoder\.layers\.4\.conv\.bias|weights hold"):
        nexus.load(tmp_path / "a.nemo")
    state = published(values, old_norms=True)
    state["vector_quantizer.fsqs.1.num_levels"] = torch.tensor([[[8], [5], [5], [4]]])
    write(tmp_path / "a.nemo", values, state)
    with pytest.raises(ValueError, match=r"fsqs\.1\.num_levels is \[8, 5, 5, 4\]"):
        nexus.load(tmp_path / "a.nemo")
    write(tmp_path / "b.nemo", values, state)
    with pytest.raises(ValueError, match="several archives"):
        nexus.load(tmp_path)


PLACE = "NEXUS_NEMO_SOURCE"  # a checkout of NVIDIA/NeMo
UTILS = "nemo.collections.common.parts.utils"


class Anything:
    """Stands for types that only annotate."""

    def __init__(self, *args: object, **kwargs: object):
        pass


def typecheck(*args: object, **kwargs: object):
    return lambda function: function


def modules(monkeypatch: pytest.MonkeyPatch) -> Any:
    if not os.environ.get(PLACE):
        pytest.skip(f"{PLACE} names no checkout of NeMo")
    stubs: dict[str, dict[str, object]] = {
        "nemo.collections.asr.modules": {"AudioToMelSpectrogramPreprocessor": Anything},
        "nemo.core.classes.common": {"typecheck": typecheck},
        "nemo.core.classes.module": {"NeuralModule": nn.Module},
        "nemo.core.neural_types.elements": {
            name: Anything
            for name in (
                "AudioSignal",
                "EncodedRepresentation",
                "Index",
                "LengthsType",
                "MelSpectrogramType",
                "VoidType",
            )
        },
        "nemo.core.neural_types.neural_type": {"NeuralType": Anything},
        "nemo.utils": {"logging": types.SimpleNamespace(debug=lambda *a: None, info=lambda *a: None)},
        "transformers": {"AutoModel": Anything},
        "torchaudio": {},
    }
    for name, values in stubs.items():
        for parent in [name.rsplit(".", n)[0] for n in range(name.count(".") + 1)]:
            if parent not in stubs:
                monkeypatch.setitem(sys.modules, parent, types.ModuleType(parent))
        module = types.ModuleType(name)
        vars(module).update(values)
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr(torch.jit, "script", lambda function: function)  # deprecated, and a warning is an error
    for name in (UTILS, MODULES):
        spec = importlib.util.spec_from_file_location(
            name, Path(os.environ[PLACE], *name.split(".")).with_suffix(".py")
        )
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, name, module)
        spec.loader.exec_module(module)
    return sys.modules[MODULES]


def nemo_codec(reference, values: dict):
    """Encoder, quantiser and decoder of NeMo's own classes."""
    parts = {name: getattr(reference, CLASSES[name])(**values[name]).eval() for name in CLASSES}
    state = {f"{name}.{key}": value for name, part in parts.items() for key, value in part.state_dict().items()}
    state = redrawn(state)
    for name, part in parts.items():
        part.load_state_dict(
            {key.removeprefix(f"{name}."): v for key, v in state.items() if key.startswith(f"{name}.")}
        )
    return parts, state


@torch.no_grad()
def compare_with_nemo(reference, values: dict, folder, length: int) -> FSQCodec:
    parts, state = nemo_codec(reference, values)
    write(folder / "codec.nemo", values, state)
    model, waveform = nexus.load(folder / "codec.nemo", device="cpu"), 0.3 * torch.randn(2, 1, length)
    padded = F.pad(waveform, (0, -length % model.hop_length))[:, 0]
    latent, n_frames = parts["audio_encoder"](padded, torch.tensor([padded.shape[-1]] * 2))
    codes = parts["vector_quantizer"].encode(latent, n_frames).permute(1, 0, 2)
    expected, _ = parts["audio_decoder"](parts["vector_quantizer"].decode(codes.permute(1, 0, 2), n_frames), n_frames)
    assert close(model.encoder(padded[:, None]), latent)
    assert torch.equal(model.quantizer.encode(latent), codes.long())
    assert (model.encode(waveform) == codes).float().mean() > 0.999
    assert len(codes.unique()) > 10
    assert close(model.decode(codes.long())[:, 0], expected, 1e-4)
    return model


@pytest.mark.parametrize("variant", SMALL)
def test_equals_nemo(variant, monkeypatch, tmp_path):
    compare_with_nemo(modules(monkeypatch), SMALL[variant], tmp_path, 251)


@pytest.mark.slow
@pytest.mark.parametrize("preset", ["audio_codec_44khz", "low_frame_rate_22khz"])
def test_official_widths(preset, monkeypatch, tmp_path):
    config = getattr(FSQCodecConfig, preset)()
    values = {
        "sample_rate": config.sample_rate,
        "samples_per_frame": config.hop_length,
        "vector_quantizer": {"num_groups": 8, "num_levels_per_group": list(config.quantizer.levels)},
        "audio_encoder": {
            "down_sample_rates": list(config.encoder.ratios),
            "encoded_dim": 32,
            "base_channels": config.encoder.dim,
            "activation": config.encoder.activation,
            "resblock_dilation_sizes": list(config.encoder.dilations),
        },
        "audio_decoder": {
            "up_sample_rates": list(config.decoder.ratios),
            "input_dim": 32,
            "base_channels": config.decoder.dim,
            "activation": config.decoder.activation,
            "output_activation": config.output,
        },
    }
    model = compare_with_nemo(modules(monkeypatch), values, tmp_path, 20 * config.hop_length - 77)
    assert model.config == config


@torch.no_grad()
def test_judges_equal_nemos(monkeypatch):
    reference = modules(monkeypatch)
    bands = list(pairwise((0.0, 0.1, 0.25, 0.5, 0.75, 1.0)))
    spectra = reference.MultiBandDiscriminatorSTFT(resolution=(512, 128, 512), stft_bands=bands)
    spectra.window.copy_(torch.hann_window(512))  # periodic, as ours
    periods = reference.MultiPeriodDiscriminator(periods=(2, 3))
    ours = fsq_judges((512,), (2, 3))
    torch.manual_seed(0)
    for judge, member in zip(ours.members, [*periods.discriminators, *spectra.discriminators], strict=True):
        state = {}
        for name, value in member.state_dict().items():
            value.add_(0.05 * torch.randn_like(value))
            layer = name.split(".conv.")[0].replace("conv_layers", "layers").replace("conv_post", "out")
            state[f"{layer}.{name.split('.conv.')[1]}"] = value
        judge.load_state_dict(state)
    waveform = torch.randn(2, 1, 2501)
    heard = [periods(audio_real=waveform[:, 0], audio_gen=waveform[:, 0])[::2], spectra(audio=waveform[:, 0])]
    logits, features = (a + b for a, b in zip(*heard, strict=True))
    told = ours(waveform)
    for a, b in zip(told.logits, logits, strict=True):
        assert close(a[:, 0].mT, b)
    for a, b in zip(with_logits(told).features, features, strict=True):
        assert all(close(x, y) for x, y in zip(a, b, strict=True))
