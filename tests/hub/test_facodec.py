"""FACodec through the published pair of files: against a plain writing-down of the network, and against Amphion's."""

import importlib
import os
import sys
import types
from typing import Any

import pytest
import torch
import torch.nn.functional as F

import nexus
from nexus.codecs.facodec import FACodec, FACodecConfig
from nexus.hub import facodec
from nexus.hub.load import kind_of
from nexus.hub.source import Source
from nexus.media.features import log_mel, mel_filterbank
from nexus.nn.alias_free import AliasFree
from nexus.nn.snake import SnakeBeta

PLACE = "NEXUS_AMPHION_SOURCE"  # a checkout of open-mmlab/Amphion
RATIOS, ENCODER_DIM, DECODER_DIM, CODEBOOK = (2, 5), 4, 16, 16


def published(dim: int, n_layers: int, hidden_dim: int, prosody_bins: int | None = None) -> tuple[dict, dict]:
    """Tensors of both files under the published names, sizes of directions near one."""
    torch.manual_seed(0)
    encoder: dict[str, torch.Tensor] = {}
    decoder: dict[str, torch.Tensor] = {}

    def normed(state: dict, name: str, shape: tuple[int, ...], bias: int):
        state[f"{name}.weight_g"] = 0.6 + 0.1 * torch.randn(shape[0], *[1] * (len(shape) - 1))
        state[f"{name}.weight_v"], state[f"{name}.bias"] = torch.randn(shape), 0.2 * torch.randn(bias)

    def linear(state: dict, name: str, c_in: int, c_out: int):
        state[f"{name}.weight"], state[f"{name}.bias"] = torch.randn(c_out, c_in) * c_in**-0.5, torch.randn(c_out) * 0.2

    def act(state: dict, name: str, dim: int):
        state |= {f"{name}.act.alpha": 0.3 * torch.randn(dim), f"{name}.act.beta": 0.3 * torch.randn(dim)}
        state |= {f"{name}.upsample.filter": torch.zeros(1, 1, 12)}
        state |= {f"{name}.downsample.lowpass.filter": torch.zeros(1, 1, 12)}

    def unit(state: dict, name: str, dim: int):
        act(state, f"{name}.block.0", dim)
        normed(state, f"{name}.block.1", (dim, dim, 7), dim)
        act(state, f"{name}.block.2", dim)
        normed(state, f"{name}.block.3", (dim, dim, 1), dim)

    def transformer(name: str):
        for i in range(n_layers):
            for norm in ("ln_1", "ln_2"):
                decoder[f"{name}.layers.{i}.{norm}.weight"] = 1 + 0.2 * torch.randn(dim)
                decoder[f"{name}.layers.{i}.{norm}.bias"] = 0.2 * torch.randn(dim)
            linear(decoder, f"{name}.layers.{i}.self_attn.out_proj", dim, dim)
            decoder[f"{name}.layers.{i}.self_attn.in_proj_weight"] = torch.randn(3 * dim, dim) * dim**-0.5
            decoder[f"{name}.layers.{i}.self_attn.in_proj_bias"] = torch.randn(3 * dim) * 0.2
            decoder[f"{name}.layers.{i}.ffn.ffn_1.weight"] = torch.randn(hidden_dim, dim, 5) * (5 * dim) ** -0.5
            decoder[f"{name}.layers.{i}.ffn.ffn_1.bias"] = torch.randn(hidden_dim) * 0.2
            linear(decoder, f"{name}.layers.{i}.ffn.ffn_2", hidden_dim, dim)
        decoder[f"{name}.last_ln.weight"], decoder[f"{name}.last_ln.bias"] = torch.randn(dim), torch.randn(dim)
        decoder[f"{name}.position_emb.pe"] = torch.zeros(5000, 1, dim)

    def predictor(name: str, sizes: tuple[int, ...]):
        for i in range(3):
            unit(decoder, f"{name}.model.{i}", dim)
        act(decoder, f"{name}.model.3", dim)
        for i, size in enumerate(sizes):
            linear(decoder, f"{name}.heads.{i}", dim, size)

    width = ENCODER_DIM
    normed(encoder, "block.0", (width, 1, 7), width)
    for i, ratio in enumerate(RATIOS, 1):
        for j in range(3):
            unit(encoder, f"block.{i}.block.{j}", width)
        act(encoder, f"block.{i}.block.3", width)
        normed(encoder, f"block.{i}.block.4", (2 * width, width, 2 * ratio), 2 * width)
        width *= 2
    act(encoder, f"block.{len(RATIOS) + 1}", width)
    normed(encoder, f"block.{len(RATIOS) + 2}", (dim, width, 3), dim)
    width = DECODER_DIM
    normed(decoder, "model.0", (width, dim, 7), width)
    for i, ratio in enumerate(reversed(RATIOS), 1):
        act(decoder, f"model.{i}.block.0", width)
        normed(decoder, f"model.{i}.block.1", (width, width // 2, 2 * ratio), width // 2)
        width //= 2
        for j in range(3):
            unit(decoder, f"model.{i}.block.{j + 2}", width)
    act(decoder, f"model.{len(RATIOS) + 1}", width)
    normed(decoder, f"model.{len(RATIOS) + 2}", (1, width, 7), 1)
    for i, n in enumerate((1, 2, 3)):
        for j in range(n):
            normed(decoder, f"quantizer.{i}.layers.{j}.in_proj", (8, dim), 8)
            normed(decoder, f"quantizer.{i}.layers.{j}.out_proj", (dim, 8), dim)
            decoder[f"quantizer.{i}.layers.{j}._codebook.weight"] = torch.randn(CODEBOOK, 8)
    transformer("timbre_encoder")
    linear(decoder, "timbre_linear", dim, 2 * dim)
    for name, sizes in (("f0_predictor", (1, 1)), ("phone_predictor", (7,)), ("res_f0_predictor.1", (1, 1))):
        predictor(name, sizes)
    predictor("res_phone_predictor.1", (7,))
    predictor("x_timbre_predictor.1", (11,))
    if prosody_bins:
        encoder |= {"mel_transform.mel_basis": torch.zeros(80, 513), "mel_transform.hann_window": torch.zeros(800)}
        linear(decoder, "melspec_linear", prosody_bins, dim)
        transformer("melspec_encoder")
    return encoder, decoder


def write(folder, encoder: dict, decoder: dict, version: str = "") -> None:
    torch.save(encoder, folder / f"ns3_facodec_encoder{version}.bin")
    torch.save(decoder, folder / f"ns3_facodec_decoder{version}.bin")


class WrittenDown:
    """The published network in plain functions of its tensors."""

    def __init__(self, state: dict):
        self.state = state

    def weight(self, name: str) -> torch.Tensor:
        g, v = self.state[f"{name}.weight_g"], self.state[f"{name}.weight_v"]
        return g * v / v.flatten(1).norm(dim=1).view(-1, *[1] * (v.ndim - 1))

    def conv(self, name: str, x: torch.Tensor, stride: int = 1, dilation: int = 1) -> torch.Tensor:
        weight = self.weight(name)
        padding = (stride + 1) // 2 if stride > 1 else (weight.shape[-1] - 1) * dilation // 2
        return F.conv1d(x, weight, self.state[f"{name}.bias"], stride, padding, dilation)

    def act(self, name: str, x: torch.Tensor) -> torch.Tensor:
        bent = AliasFree(SnakeBeta(x.shape[1]))
        bent.activation.load_state_dict({part: self.state[f"{name}.act.{part}"] for part in ("alpha", "beta")})
        return bent(x)

    def unit(self, name: str, x: torch.Tensor, dilation: int) -> torch.Tensor:
        y = self.conv(f"{name}.block.1", self.act(f"{name}.block.0", x), dilation=dilation)
        return x + self.conv(f"{name}.block.3", self.act(f"{name}.block.2", y))

    def latent(self, x: torch.Tensor) -> torch.Tensor:
        x = self.conv("block.0", x)
        for i, ratio in enumerate(RATIOS, 1):
            for j, dilation in enumerate((1, 3, 9)):
                x = self.unit(f"block.{i}.block.{j}", x, dilation)
            x = self.conv(f"block.{i}.block.4", self.act(f"block.{i}.block.3", x), stride=ratio)
        return self.conv("block.4", self.act("block.3", x))

    def stack(self, i: int, n: int, x: torch.Tensor) -> tuple[list[torch.Tensor], torch.Tensor]:
        codes, total = [], torch.zeros_like(x)
        for j in range(n):
            name = f"quantizer.{i}.layers.{j}"
            low = F.linear((x - total).mT, self.weight(f"{name}.in_proj"), self.state[f"{name}.in_proj.bias"])
            vectors = self.state[f"{name}._codebook.weight"]
            codes.append(torch.cdist(F.normalize(low, dim=-1), F.normalize(vectors)[None]).argmin(-1))
            out = F.linear(vectors[codes[-1]], self.weight(f"{name}.out_proj"), self.state[f"{name}.out_proj.bias"])
            total = total + out.mT
        return codes, total

    def transformed(self, name: str, x: torch.Tensor) -> torch.Tensor:
        """Of one item [1, T, D], as the published code looks positions up by item."""
        dim, get = x.shape[-1], lambda key: self.state[f"{name}.{key}"]
        x = x + torch.tensor([0.0, 1.0]).repeat(dim // 2)
        i = 0
        while f"{name}.layers.{i}.ln_1.weight" in self.state:
            y = F.layer_norm(x, (dim,), get(f"layers.{i}.ln_1.weight"), get(f"layers.{i}.ln_1.bias"))
            attention = torch.nn.MultiheadAttention(dim, 4, batch_first=True)
            inner = {k: get(f"layers.{i}.self_attn.{k}") for k in attention.state_dict()}
            attention.load_state_dict(inner)
            x = x + attention(y, y, y)[0]
            y = F.layer_norm(x, (dim,), get(f"layers.{i}.ln_2.weight"), get(f"layers.{i}.ln_2.bias"))
            y = F.conv1d(y.mT, get(f"layers.{i}.ffn.ffn_1.weight"), get(f"layers.{i}.ffn.ffn_1.bias"), padding=2).relu()
            x = x + F.linear(y.mT, get(f"layers.{i}.ffn.ffn_2.weight"), get(f"layers.{i}.ffn.ffn_2.bias"))
            i += 1
        return F.layer_norm(x, (dim,), get("last_ln.weight"), get("last_ln.bias"))

    def waveform(self, mixed: torch.Tensor, timbre: torch.Tensor) -> torch.Tensor:
        style = F.linear(timbre, self.state["timbre_linear.weight"], self.state["timbre_linear.bias"])
        scale, shift = style[..., None].chunk(2, dim=1)
        x = (mixed - mixed.mean(1, keepdim=True)) / (mixed.var(1, unbiased=False, keepdim=True) + 1e-5).sqrt()
        x = self.conv("model.0", x * scale + shift)
        for i, ratio in enumerate(reversed(RATIOS), 1):
            bias = self.state[f"model.{i}.block.1.bias"]
            x = self.act(f"model.{i}.block.0", x)
            padding = (ratio + 1) // 2
            x = F.conv_transpose1d(x, self.weight(f"model.{i}.block.1"), bias, ratio, padding, ratio % 2)
            for j, dilation in enumerate((1, 3, 9)):
                x = self.unit(f"model.{i}.block.{j + 2}", x, dilation)
        return self.conv("model.4", self.act("model.3", x)).tanh()

    def predicted(self, name: str, x: torch.Tensor) -> torch.Tensor:
        for i, dilation in enumerate((1, 2, 3)):
            x = self.unit(f"{name}.model.{i}", x, dilation)
        return self.act(f"{name}.model.3", x).mT


def close(ours: torch.Tensor, theirs: torch.Tensor, tolerance: float = 1e-5) -> bool:
    assert ours.shape == theirs.shape
    assert theirs.std() > 1e-3
    return bool((ours - theirs).abs().max() / theirs.abs().max() < tolerance)


@pytest.mark.parametrize("version", ["", "_v2"])
@torch.no_grad()
def test_files_hold_the_published_network(version, tmp_path):
    encoder, decoder = published(dim=8, n_layers=2, hidden_dim=12, prosody_bins=5 if version else None)
    write(tmp_path, encoder, decoder, version)
    expected, model = WrittenDown(encoder | decoder), nexus.load(tmp_path, device="cpu")
    assert isinstance(model, FACodec)
    assert model.config == FACodecConfig(
        encoder_dim=ENCODER_DIM,
        decoder_dim=DECODER_DIM,
        dim=8,
        ratios=RATIOS,
        codebook_size=CODEBOOK,
        n_layers=2,
        hidden_dim=12,
        prosody_bins=5 if version else None,
    )
    waveform = 0.3 * torch.randn(2, 1, 1197)
    padded = F.pad(waveform, (0, 3))
    latent = expected.latent(padded)
    assert close(model.encoder(padded), latent)
    heard = latent
    if version:
        mel = log_mel(padded[:, 0], model.config.mel)[:, :5]
        rows = F.linear(mel.mT, decoder["melspec_linear.weight"], decoder["melspec_linear.bias"])
        heard = torch.cat([expected.transformed("melspec_encoder", row[None]) for row in rows]).mT
    prosody, told = expected.stack(0, 1, heard)
    content, said = expected.stack(1, 2, latent)
    detail, left = expected.stack(2, 3, latent - told - said)
    codes = torch.stack([*prosody, *content, *detail], dim=1)
    assert (model.encode(waveform) == codes).float().mean() > 0.999
    assert len(codes.unique()) == CODEBOOK
    timbre = torch.cat([expected.transformed("timbre_encoder", item[None]) for item in latent.mT]).mean(1)
    assert close(model.timbre(waveform), timbre)
    assert close(model.decode(codes, timbre), expected.waveform(told + said + left, timbre))
    assert close(model.decode(codes[:, :3], timbre, length=1197), expected.waveform(told + said, timbre)[..., :1197])


@torch.no_grad()
def test_predictors_are_there_for_whoever_trains_on(tmp_path):
    encoder, decoder = published(dim=8, n_layers=1, hidden_dim=12)
    write(tmp_path, encoder, decoder)
    predictors, expected = facodec.load_predictors(Source("x", tmp_path)), WrittenDown(decoder)
    assert (predictors.config.dim, predictors.config.n_phones, predictors.config.n_speakers) == (8, 7, 11)
    x = torch.randn(2, 8, 20)
    for theirs, ours in facodec.PREDICTORS.items():
        hidden = expected.predicted(theirs, x)
        hidden = hidden.mean(1) if ours == "speaker" else hidden
        for i, told in enumerate(getattr(predictors, ours)(x)):
            weight, bias = (decoder[f"{theirs}.heads.{i}.{part}"] for part in ("weight", "bias"))
            assert close(told, F.linear(hidden, weight, bias))


def test_a_pair_is_found_by_folder_or_by_either_file(tmp_path):
    encoder, decoder = published(dim=8, n_layers=1, hidden_dim=12)
    write(tmp_path, encoder, decoder)
    write(tmp_path, *published(dim=8, n_layers=1, hidden_dim=12, prosody_bins=5), version="_v2")
    (tmp_path / "ns3_facodec_redecoder.bin").touch()
    assert kind_of(tmp_path) == kind_of(tmp_path / "ns3_facodec_decoder.bin") == "FACodec"
    assert nexus.load(tmp_path).config.prosody_bins is None
    assert nexus.load(tmp_path / "ns3_facodec_decoder_v2.bin").config.prosody_bins == 5
    (tmp_path / "ns3_facodec_encoder.bin").unlink()
    with pytest.raises(FileNotFoundError, match=r"ns3_facodec_encoder\.bin is missing"):
        nexus.load(tmp_path)


def test_every_tensor_is_accounted_for(tmp_path):
    encoder, decoder = published(dim=8, n_layers=1, hidden_dim=12)
    write(tmp_path, encoder, decoder | {"timbre_encoder.surprise": torch.zeros(1)})
    with pytest.raises(ValueError, match="surprise"):
        nexus.load(tmp_path)
    decoder.pop("timbre_linear.bias")
    write(tmp_path, encoder, decoder)
    with pytest.raises(ValueError, match=r"1 missing: style\.bias"):
        nexus.load(tmp_path)
    write(tmp_path, {"block.0.bias": torch.zeros(3)}, decoder)
    with pytest.raises(ValueError, match="not FACodec's encoder and decoder"):
        nexus.load(tmp_path)


@torch.no_grad()
def test_codes_are_those_of_transformers_quantiser(tmp_path):
    """DAC's quantiser is the published stacks', its projections convolutions where these are linear."""
    transformers = pytest.importorskip("transformers")
    modeling = pytest.importorskip("transformers.models.dac.modeling_dac")
    encoder, decoder = published(dim=8, n_layers=1, hidden_dim=12)
    write(tmp_path, encoder, decoder)
    model, latent = nexus.load(tmp_path, device="cpu"), torch.randn(2, 8, 40)
    sizes = {"hidden_size": 8, "codebook_size": CODEBOOK, "codebook_dim": 8}
    for n, stack in zip((1, 2, 3), (model.prosody, model.content, model.detail), strict=True):
        reference = modeling.DacResidualVectorQuantizer(transformers.DacConfig(n_codebooks=n, **sizes)).eval()
        for theirs, ours in zip(reference.quantizers, stack.codebooks, strict=True):
            theirs.in_proj.load_state_dict(ours.proj_in.state_dict())
            theirs.out_proj.load_state_dict(ours.proj_out.state_dict())
            theirs.codebook.weight.copy_(ours.vectors)
        vectors, codes = reference(latent)[:2]
        assert torch.equal(stack.encode(latent), codes)
        assert close(stack.decode(codes), vectors)


def amphion(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Amphion's `models.codec.ns3_codec`, with what it imports for mel features stubbed."""
    if not os.environ.get(PLACE):
        pytest.skip(f"{PLACE} names no checkout of Amphion")
    for name in ("pyworld", "soundfile", "torchaudio", "torchaudio.functional", "librosa", "librosa.filters"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    sys.modules["torchaudio.functional"].pitch_shift = None  # type: ignore[attr-defined]
    sys.modules["librosa.filters"].mel = (  # type: ignore[attr-defined]
        lambda sr, n_fft, n_mels, fmin, fmax: (
            mel_filterbank(sr, n_fft, n_mels, float(fmin), float(fmax), "slaney", "slaney").float().numpy()
        )
    )
    for name in [name for name in sys.modules if name.split(".")[0] == "models"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(os.environ[PLACE])
    return importlib.import_module("models.codec.ns3_codec")


@torch.no_grad()
def compare_with_amphion(reference: Any, folder, version: str, sizes: dict, n_samples: int) -> FACodec:
    suffix = version.upper().replace("_", "")
    ratios, heads = (
        sizes["up_ratios"],
        {f"use_gr_{name}": True for name in ("x_timbre", "residual_f0", "residual_phone")},
    )
    torch.manual_seed(0)
    encoder = getattr(reference, f"FACodecEncoder{suffix}")(sizes["ngf"], ratios, 256).eval()
    decoder = getattr(reference, f"FACodecDecoder{suffix}")(
        256, sizes["decoder_dim"], sizes["ngf"], ratios[::-1], vq_dim=256, **sizes["codebooks"], **heads
    ).eval()
    for part in (encoder, decoder):
        for name, parameter in part.named_parameters():
            if name.endswith(("weight_g", "alpha", "beta", "bias")):
                parameter.mul_(1.5 if name.endswith("weight_g") else 1).add_(torch.randn_like(parameter) * 0.1)
    write(folder, encoder.state_dict(), decoder.state_dict(), version)
    model, waveform = nexus.load(folder, device="cpu"), 0.3 * torch.randn(2, 1, n_samples)
    latent = encoder(waveform)
    assert close(model.encoder(waveform), latent, 1e-4)
    prosody = [encoder.get_prosody_feature(waveform)] if version else []
    for item in range(2):  # its transformer looks positions up by item, so each goes alone
        alone = [x[item : item + 1] for x in (latent, *prosody)]
        vectors, codes, _, quantized, timbre = decoder(*alone, eval_vq=False, vq=True)
        codes = codes.permute(1, 0, 2)
        assert (model.encode(waveform[item : item + 1]) == codes).float().mean() > 0.999
        assert len(codes.unique()) > 10
        assert close(model.timbre(waveform)[item : item + 1], timbre, 1e-4)
        assert close(model.decode(codes, timbre), decoder.inference(vectors, timbre), 1e-4)
        without = decoder.inference(quantized[0] + quantized[1], timbre)
        assert close(model.decode(codes[:, :3], timbre), without, 1e-4)
    predictors, labelled = facodec.load_predictors(Source("x", folder)), torch.randn(2, 256, 12)
    f0, voiced = decoder.f0_predictor(labelled)
    for ours, theirs in zip(predictors.pitch(labelled), (f0, voiced), strict=True):
        assert close(ours, theirs, 1e-4)
    assert close(predictors.speaker(labelled)[0], decoder.x_timbre_predictor(labelled)[0], 1e-4)
    assert close(predictors.detail_phones(labelled)[0], decoder.res_phone_predictor(labelled)[0], 1e-4)
    return model


@pytest.mark.filterwarnings("ignore")  # torch's old weight norm
@pytest.mark.parametrize("version", ["", "_v2"])
def test_equals_amphion(version, monkeypatch, tmp_path):
    codebooks = {f"codebook_size_{name}": 5 for name in ("prosody", "content", "residual")}
    ratios = [2, 4, 5, 5] if version else [2, 5]  # the mel frames of version 2 are 200 samples apart
    sizes = {"ngf": 4, "up_ratios": ratios, "decoder_dim": 32, "codebooks": codebooks}
    compare_with_amphion(amphion(monkeypatch), tmp_path, version, sizes, 2000 if version else 300)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("version", ["", "_v2"])
def test_official_widths(version, monkeypatch, tmp_path):
    sizes = {"ngf": 32, "up_ratios": [2, 4, 5, 5], "decoder_dim": 1024, "codebooks": {}}
    model = compare_with_amphion(amphion(monkeypatch), tmp_path, version, sizes, 8000)
    assert model.config == FACodecConfig(prosody_bins=20 if version else None)
