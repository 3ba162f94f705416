"""DAC's discriminators: against Descript's, and their losses at known answers."""

import math
import sys
import types

import pytest
import torch
from torch import nn

from nexus.process.dac_judges import BandDiscriminator, dac_judges


class Signal:
    """audiotools' STFT whose frames are aligned with those of strided convolutions."""

    def __init__(self, audio_data: torch.Tensor, sample_rate: int, stft_params: types.SimpleNamespace):
        self.audio_data, self.params = audio_data, stft_params

    def stft(self) -> torch.Tensor:
        n_fft, hop = self.params.window_length, self.params.hop_length
        edge, missing = (n_fft - hop) // 2, math.ceil(self.audio_data.shape[-1] / hop) * hop - self.audio_data.shape[-1]
        x = nn.functional.pad(self.audio_data, (edge, edge + missing), "reflect")[:, 0]
        spectrum = torch.stft(x, n_fft, hop, window=torch.hann_window(n_fft), center=True, return_complex=True)
        return spectrum[:, None, :, 2:-2]


@pytest.fixture
def package(monkeypatch):
    stubs = {name: types.ModuleType(name) for name in ("audiotools", "audiotools.ml", "argbind", "tqdm")}
    stubs["audiotools.ml"].BaseModel = type("BaseModel", (nn.Module,), {"INTERN": [], "EXTERN": []})
    stubs["audiotools.ml"].Accelerator = object
    stubs["audiotools"].ml, stubs["audiotools"].AudioSignal = stubs["audiotools.ml"], Signal
    stubs["audiotools"].STFTParams = types.SimpleNamespace
    stubs["argbind"].bind = lambda *args, **options: lambda function: function
    stubs["tqdm"].tqdm = range
    for name, module in stubs.items():
        monkeypatch.setitem(sys.modules, name, module)
    for name in [name for name in sys.modules if name.split(".")[0] == "dac"]:
        monkeypatch.delitem(sys.modules, name)
    yield pytest.importorskip("dac.model.discriminator", exc_type=ImportError)
    for name in [name for name in sys.modules if name.split(".")[0] == "dac"]:
        del sys.modules[name]


@pytest.mark.filterwarnings("ignore:.*weight_norm.*:FutureWarning", "ignore::DeprecationWarning")
@torch.no_grad()
def test_bands_are_the_originals(package):
    torch.manual_seed(0)
    expected = package.MRD(64)
    model = BandDiscriminator(64)
    state, old = model.state_dict(), expected.state_dict()
    for name in state:
        place = name.replace("bands.", "band_convs.").replace("out.", "conv_post.")
        place = place.replace("parametrizations.weight.original0", "weight_g")
        place = place.replace("parametrizations.weight.original1", "weight_v")
        place = place if place.startswith("conv_post") else ".".join([*(p := place.split("."))[:3], "0", *p[3:]])
        state[name] = old.pop(place)
    assert not old
    model.load_state_dict(state)
    for length in (320, 333):
        x = torch.randn(2, 1, length)
        *features, logits = expected(x)
        ours, inner = model(x)
        assert logits.std() > 1e-3
        torch.testing.assert_close(ours, logits, atol=1e-5, rtol=1e-4)
        for a, b in zip(inner, features, strict=True):
            torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)


def judges():
    torch.manual_seed(0)
    return dac_judges((64, 32), (2, 3), n_filters=3, widths=(3, 4, 5))


def test_level_and_offset_are_not_judged():
    model, x = judges(), torch.randn(2, 1, 301)
    a, b = model(x), model(3 * x + 0.5)
    assert len(a.logits) == 4 and [len(f) for f in a.features] == [3, 3, 25, 25]
    for one, other in zip(a.logits, b.logits, strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-3)
    assert all(torch.isfinite(logits).all() for logits in model(torch.zeros(1, 1, 300)).logits)


def test_every_parameter_and_the_sound_get_a_gradient():
    model, x = judges(), torch.randn(2, 1, 300, requires_grad=True)
    sum(logits.square().mean() for logits in model(x).logits).backward()
    assert x.grad is not None and x.grad.abs().sum() > 0
    assert not [n for n, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]


def test_bands_must_rise():
    with pytest.raises(ValueError, match="edges, rising"):
        BandDiscriminator(64, bands=(0.0, 0.5, 0.25))
