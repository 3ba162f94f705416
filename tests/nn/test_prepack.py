"""Prepacked layers against the plain ones, and what may and may not be done with them."""

import copy
import io

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from nexus.adapters.lora import LoRA, LoRAConfig, LoRAStack
from nexus.codecs.encodec_lm import EncodecLM, EncodecLMConfig
from nexus.codecs.mimi import Mimi
from nexus.models.audio.musicgen_decoder import Decoder, MusicGenConfig
from nexus.nn import packed, winograd
from nexus.nn.conv import Conv1d, ConvTranspose1d
from nexus.nn.prepack import prepack

pytestmark = pytest.mark.skipif(not packed.available(), reason="this PyTorch has no oneDNN")
PRECISIONS = packed.dtypes() if packed.available() else (torch.float32,)


@pytest.fixture(autouse=True)
def wide_vectors(monkeypatch):
    """As where all that can be packed is."""
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")


def apart(a, b):
    return ((a - b).norm() / b.norm()).item()


@torch.no_grad()
def redrawn(layer):
    for parameter in layer.parameters():
        parameter.copy_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(parameter.numel())) / 20)
    return layer


def layers():
    return nn.ModuleDict(
        {
            "linear": nn.Linear(384, 512),
            "small": nn.Linear(8, 8),
            "picture": nn.Conv2d(48, 40, 3, stride=2, padding=(2, 1)),
            "point": nn.Conv2d(160, 128, 1, bias=False),
            "clip": nn.Conv3d(16, 24, 3, stride=(1, 2, 1), padding=(0, 1, 1)),
            "winograd": nn.Conv2d(320, 336, 3, padding=1),
            "winograd_in_float32": nn.Conv2d(192, 208, 3, padding=1),
            "sound": Conv1d(64, 48, 7, dilation=3, causal=True, weight_norm=True),
            "sound_point": Conv1d(64, 80, 1),
            "upsample": ConvTranspose1d(64, 32, 8, stride=4, causal=True, weight_norm=True),
            "wide_sound": Conv1d(128, 160, 8, stride=4, causal=True),
            "wide_upsample": ConvTranspose1d(160, 128, 10, stride=5, causal=True),
            "two_strides": ConvTranspose1d(200, 48, 10, stride=5, causal=True, weight_norm=True),
            "toom_cook": Conv1d(96, 72, 7, dilation=3, causal=True, weight_norm=True),
            "toom_cook_3": Conv1d(400, 400, 3, causal=True),
        }
    )


INPUTS = {
    "linear": (2, 7, 384),
    "small": (2, 8),
    "picture": (2, 48, 13, 18),
    "point": (2, 160, 5, 9),
    "clip": (1, 16, 5, 12, 10),
    "winograd": (3, 320, 13, 18),
    "winograd_in_float32": (3, 192, 13, 18),
    "sound": (2, 64, 50),
    "sound_point": (2, 64, 50),
    "upsample": (2, 64, 21),
    "wide_sound": (2, 128, 300),
    "wide_upsample": (2, 160, 40),
    "two_strides": (2, 200, 90),
    "toom_cook": (2, 96, 150),
    "toom_cook_3": (1, 400, 70),
}
CLASSES = {
    "linear": packed.PackedLinear,
    "small": nn.Linear,
    "picture": packed.PackedConv2d,
    "point": packed.PackedConv2d,
    "clip": packed.PackedConv3d,
    "winograd": winograd.WinogradConv2d,
    "winograd_in_float32": winograd.WinogradConv2d,
}


@pytest.mark.parametrize("dtype", PRECISIONS, ids=str)
@pytest.mark.parametrize("name", list(INPUTS))
def test_a_prepacked_layer_computes_what_the_plain_one_does(name, dtype):
    plain = redrawn(layers()[name]).to(dtype)
    fast = prepack(nn.Sequential(copy.deepcopy(plain)))[0]
    x = torch.randn(INPUTS[name], generator=torch.Generator().manual_seed(0)).to(dtype)
    with torch.inference_mode():
        expected = copy.deepcopy(plain).double()(x.double())
        answer, reference = fast(x), plain(x)
    assert answer.shape == reference.shape and answer.dtype == dtype
    assert apart(answer.double(), expected) < (1e-5 if dtype == torch.float32 else 6e-3)
    if name in CLASSES:
        others = {"winograd_in_float32": packed.PackedConv2d, "clip": nn.Conv3d} if dtype == torch.bfloat16 else {}
        assert type(fast) is (CLASSES | others)[name]


def test_where_the_cpu_has_no_kernels_in_bfloat16_layers_in_it_stay_plain(monkeypatch):
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: False)
    model = nn.Sequential(nn.Linear(300, 300), nn.LSTM(24, 32, batch_first=True)).bfloat16()
    prepack(model)
    assert [type(layer) for layer in model] == [nn.Linear, nn.LSTM]
    assert type(prepack(nn.Sequential(nn.Linear(300, 300)))[0]) is packed.PackedLinear


@pytest.mark.parametrize("capability", ["AVX2", "AVX512"])
def test_without_avx512_matrices_are_packed_where_rows_are_few(monkeypatch, capability):
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)

    class Decoder(nn.Sequential):
        few_rows = True

    model = prepack(nn.Sequential(nn.Linear(300, 300), Decoder(nn.Sequential(nn.Linear(300, 300)))))
    assert type(model[1][0][0]) is packed.PackedLinear
    assert (type(model[0]) is packed.PackedLinear) is (capability == "AVX512")


def test_models_that_compute_a_token_at_a_time_are_packed_without_avx512(monkeypatch):
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX2")
    sizes = {"dim": 256, "n_layers": 1, "n_heads": 4, "ffn_dim": 256, "codebook_size": 16, "text_dim": 8}
    for model, n in ((Decoder(MusicGenConfig(**sizes)), 5), (EncodecLM(EncodecLMConfig()), 10)):
        packs = [module for module in prepack(model).modules() if isinstance(module, packed.PackedLinear)]
        assert len(packs) >= n
    assert Mimi.few_rows


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (4, 4), (5, 31), (64, 64)])
@pytest.mark.parametrize("padding", [(0, 0), (1, 1), (2, 0)])
def test_winograd_equals_the_convolution_at_any_size(size, padding, monkeypatch):
    monkeypatch.setattr(winograd, "TILES_AT_ONCE", 40)  # several bands
    conv = redrawn(nn.Conv2d(192, 200, 3, padding=padding))
    x = torch.randn(2, 192, *size, generator=torch.Generator().manual_seed(1))
    if min(size[i] + 2 * padding[i] for i in (0, 1)) < 3:
        return
    with torch.inference_mode():
        expected = F.conv2d(x.double(), conv.weight.double(), conv.bias.double(), padding=padding)
        answer = prepack(nn.Sequential(conv))(x)
    assert isinstance(conv, winograd.WinogradConv2d) and answer.shape == expected.shape
    assert apart(answer.double(), expected) < 3e-6


def test_winograd_gives_each_picture_what_it_gets_alone():
    conv = redrawn(nn.Conv2d(192, 192, 3, padding=1))
    prepack(nn.Sequential(conv))
    x = torch.randn(3, 192, 12, 20)
    with torch.inference_mode():
        assert apart(conv(x)[1], conv(x[1:2])[0]) < 1e-6


@pytest.mark.parametrize(
    "name", ["picture", "clip", "sound", "upsample", "wide_sound", "wide_upsample", "two_strides", "toom_cook"]
)
def test_inputs_of_other_sizes_are_computed_as_well(name):
    plain = redrawn(layers()[name])
    fast = prepack(nn.Sequential(copy.deepcopy(plain)))[0]
    *size, last = INPUTS[name]
    for n in (last, 8, 40, last, 2, 9):
        x = torch.randn(*size, n)
        with torch.inference_mode():
            assert apart(fast(x), plain(x)) < 1e-5
        if name in ("picture", "clip"):  # kernels that were packed for another size would be right, and very slow
            assert fast.packed.size == tuple(x.shape)


def test_the_state_dict_is_that_of_the_plain_model():
    model = redrawn(nn.Sequential(nn.Linear(384, 512), nn.Conv2d(192, 192, 3), nn.Conv2d(64, 256, 1)))
    before = copy.deepcopy(model.state_dict())
    after = prepack(model).state_dict()
    assert sorted(after) == sorted(before)
    assert all(torch.equal(after[name], before[name]) for name in before)


def test_prepacked_models_are_copied_and_pickled():
    model = prepack(redrawn(layers()))
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    for other in (copy.deepcopy(model), torch.load(file, weights_only=False)):
        for name, shape in INPUTS.items():
            x = torch.randn(shape)
            with torch.inference_mode():
                assert torch.equal(other[name](x), model[name](x))


@pytest.mark.parametrize("approximate", ["none", "tanh"])
def test_gelu_after_a_matrix_is_applied_by_its_kernel(approximate):
    plain = redrawn(nn.Sequential(nn.Linear(384, 512), nn.GELU(approximate), nn.Dropout(), nn.Linear(512, 256))).eval()
    fast = prepack(copy.deepcopy(plain))
    x = torch.randn(2, 7, 384)
    with torch.inference_mode():
        assert apart(fast(x), plain(x)) < 1e-5
    x.requires_grad_()
    assert type(fast[1]) is nn.Identity and apart(fast(x), plain(x)) < 1e-5


def test_gradients_go_through_prepacked_layers():
    plain = redrawn(nn.Sequential(nn.Conv2d(192, 192, 3, padding=1), nn.Flatten(2), nn.Linear(64, 1024)))
    fast = prepack(copy.deepcopy(plain))
    gradients = []
    for model in (plain, fast):
        x = torch.randn(1, 192, 8, 8, generator=torch.Generator().manual_seed(2)).requires_grad_()
        model(x).square().sum().backward()
        gradients.append(x.grad)
    assert type(fast[0]) is winograd.WinogradConv2d and type(fast[2]) is packed.PackedLinear
    assert apart(gradients[1], gradients[0]) < 1e-5


def test_what_prepacked_layers_refuse():
    model = prepack(redrawn(nn.Sequential(nn.Linear(384, 512))))
    with pytest.raises(RuntimeError, match="load the model anew to move it"):
        model.to(torch.float64)
    with pytest.raises(RuntimeError, match="load them before prepacking"):
        model.load_state_dict(model.state_dict())
    assert model.to("cpu", torch.float32) is model
    lora = LoRA.fresh(nn.Sequential(nn.Linear(384, 512)), LoRAConfig(rank=2, alpha=2, targets=("0",)))
    with pytest.raises(ValueError, match="add LoRAs before"):
        LoRAStack(model).add(lora)


def test_half_precision_and_layers_of_other_packages_stay():
    half = nn.Sequential(nn.Linear(384, 512).half())
    assert type(prepack(half)[0]) is nn.Linear
    from transformers import T5Config, T5EncoderModel

    text = T5EncoderModel(T5Config(d_model=256, d_ff=512, num_layers=1, num_heads=4, d_kv=64, vocab_size=50))
    prepack(nn.ModuleList([text]))
    assert not any(isinstance(module, packed.Packed) for module in text.modules())
