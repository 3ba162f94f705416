"""An LSTM and a codebook that are packed beside their plain weights, against the plain ones."""

import copy
import io

import pytest
import torch
from torch import nn

from nexus.nn import packed
from nexus.nn.packed_codebook import PackedCodebook
from nexus.nn.packed_lstm import PackedLSTM
from nexus.nn.prepack import prepack
from nexus.nn.quantize import Codebook, QuantizerConfig

pytestmark = pytest.mark.skipif(not packed.available(), reason="this PyTorch has no oneDNN")
PRECISIONS = packed.dtypes() if packed.available() else (torch.float32,)


def lstm(**options):
    return nn.LSTM(24, 32, 2, batch_first=True, **options).eval().requires_grad_(False)


def codebook():
    return Codebook(QuantizerConfig(codebook_size=1024, dim=64))


@pytest.mark.parametrize("dtype", PRECISIONS, ids=str)
@pytest.mark.parametrize("n_steps", [1, 2, 33])
def test_a_packed_lstm_is_the_plain_one_from_any_state(n_steps, dtype):
    plain = lstm().to(dtype)
    fast = prepack(nn.Sequential(copy.deepcopy(plain)))[0]
    assert type(fast) is PackedLSTM
    x, state = torch.randn(3, n_steps, 24).to(dtype), None
    with torch.inference_mode():
        for _ in range(2):
            (expected, wanted), (y, after) = plain(x, state), fast(x, state)
            assert y.shape == expected.shape and y.dtype == dtype and expected.std() > 0.02
            assert (y - expected).abs().max() < (1e-6 if dtype == torch.float32 else 1e-2)
            for part, other in zip(after, wanted, strict=True):
                assert part.shape == other.shape and (part - other).abs().max() < (
                    1e-6 if dtype == torch.float32 else 2e-2
                )
            state = wanted


def test_gradients_go_through_a_packed_lstm():
    plain = lstm()
    fast = prepack(copy.deepcopy(plain))
    x = torch.randn(2, 5, 24)
    gradients = []
    for model in (plain, fast):
        model(x := x.detach().clone().requires_grad_())[0].square().sum().backward()
        gradients.append(x.grad)
    assert gradients[0].abs().max() > 1e-4 and torch.allclose(gradients[0], gradients[1], atol=1e-7)


@pytest.mark.parametrize("options", [{"bidirectional": True}, {"bias": False}, {"proj_size": 8}])
def test_other_kinds_of_lstm_stay_as_they_are(options):
    model = prepack(nn.Sequential(lstm(**options)))
    assert type(model[0]) is nn.LSTM


def test_a_packed_codebook_finds_what_the_plain_one_does():
    plain = codebook()
    fast = prepack(nn.ModuleList([copy.deepcopy(plain)]))[0]
    assert type(fast) is PackedCodebook
    for n_rows in (1, 7, 300):
        x = torch.randn(n_rows, 64)
        assert torch.equal(fast.nearest(x), torch.cdist(x.double(), plain.vectors.double()).argmin(-1))


@pytest.mark.parametrize(
    "make, use", [(lstm, lambda m: m(torch.ones(1, 3, 24))[0]), (codebook, lambda m: m.nearest(torch.ones(3, 64)))]
)
def test_they_are_copied_pickled_and_say_their_plain_weights(make, use):
    plain = make()
    fast = prepack(nn.ModuleList([copy.deepcopy(plain)]))
    with torch.inference_mode():
        expected = use(fast[0])
        assert fast[0].packed is not None
        file = io.BytesIO()
        torch.save(fast, file)
        file.seek(0)
        for other in (copy.deepcopy(fast), torch.load(file, weights_only=False)):
            assert torch.equal(use(other[0]), expected)
    assert list(fast[0].state_dict()) == list(plain.state_dict())
    assert all(torch.equal(fast[0].state_dict()[name], tensor) for name, tensor in plain.state_dict().items())
    with pytest.raises(RuntimeError, match="load them before prepacking"):
        fast.load_state_dict(fast.state_dict())
    with pytest.raises(RuntimeError, match="load the model anew to move it"):
        fast.to(torch.float64)
