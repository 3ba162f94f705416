"""VGGish against the package torchvggish, on its class's random weights in the published file's layout."""

import sys
import types

import numpy as np
import pytest
import torch

from nexus.media import Audio
from nexus.metrics.judge import MissingJudge
from nexus.metrics.vggish import FILE, vggish_embedding, windows_of


@pytest.fixture
def reference(monkeypatch):
    monkeypatch.setitem(sys.modules, "resampy", types.ModuleType("resampy"))  # only for sounds at another rate
    package = pytest.importorskip("torchvggish.vggish_input", exc_type=ImportError)
    from torchvggish import torchvggish

    return types.SimpleNamespace(
        inputs=package.waveform_to_examples, model=torchvggish.VGG(torchvggish.make_layers(), False)
    )


def sound(seconds, rate=16_000):
    rng = np.random.default_rng(0)
    time = np.arange(round(seconds * rate)) / rate
    return Audio(
        (0.3 * np.sin(2 * np.pi * 440 * time) + 0.05 * rng.standard_normal(len(time))).astype(np.float32), rate
    )


def test_equal_to_the_reference(reference, judges):
    with torch.no_grad():
        for parameter in reference.model.parameters():
            parameter.normal_(std=0.03)
    torch.save(reference.model.state_dict(), judges / FILE)
    audio = sound(3.1)
    mel = reference.inputs(audio.samples[0].astype(np.float64), 16_000).float()  # [N, 1, T, M]
    np.testing.assert_allclose(windows_of(audio).numpy(), mel[:, 0].detach().numpy(), atol=1e-5)
    with torch.no_grad():
        x = reference.model.features(mel).permute(0, 2, 3, 1).flatten(1)
        expected = reference.model.embeddings[:-1](x).numpy()  # without the last activation
    assert expected.shape == (3, 128) and expected.std() > 1e-3 and (expected < 0).any()
    found = vggish_embedding()
    np.testing.assert_allclose(found.embed(audio), expected, rtol=1e-4, atol=1e-5)
    assert found.embed(sound(1.0, 48_000)).shape == (1, 128) and len(found.weights) == 16


def test_what_it_cannot_hear_is_refused(judges):
    with pytest.raises(ValueError, match=r"0\.98 s of sound, got 0\.50 s"):
        windows_of(sound(0.5))
    with pytest.raises(MissingJudge, match=r"VGGish wants vggish-10086976\.pth of harritaylor/torchvggish as "):
        vggish_embedding()
    torch.save({"weight": torch.zeros(1)}, judges / FILE)
    with pytest.raises(MissingJudge, match="VGGish wants vggish"):
        vggish_embedding()
