"""The f5tts-tiny recipe on a corpus of a few seconds: it trains, exports, and its weights speak."""

import json

import pytest
import torch

from nexus.hub import native
from nexus.hub.source import Source
from nexus.recipes.f5tts_tiny import recipe
from nexus.training.recipe import override


@pytest.fixture
def tiny(speech_corpus, tmp_path):
    """The recipe on made-up utterances, with a narrow network."""
    settings = [
        f"corpus={speech_corpus}",
        f"cache={tmp_path / 'cache'}",
        "dim=32",
        "n_layers=1",
        "frames_per_batch=200",
    ]
    return override(recipe, settings)


def test_steps_lower_the_loss_and_the_export_loads(tiny, tmp_path, monkeypatch):
    torch.manual_seed(0)
    networks = tiny.networks()
    (objective,) = tiny.objectives(networks)
    batch = tiny.dataset("train")[0]
    optimizer = torch.optim.AdamW(networks["model"].parameters(), lr=3e-3)
    losses = []
    for _ in range(30):
        loss = objective.loss(networks, batch, torch.Generator().manual_seed(0))["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] - 0.5

    tiny.export(networks["model"], tmp_path / "weights")
    description = json.loads((tmp_path / "weights" / "config.json").read_text())
    assert description["kind"] == "f5tts" and description["parts"] == {
        "vocoder": "nexus/f5tts-vocoder-tiny",
        "front_end": "misaki",
    }
    monkeypatch.setattr(native, "_part", lambda role, part, source: None)
    model = native.load(Source("weights", tmp_path / "weights"))
    assert model.default_voice.shape[1] % 4 == 0 and model.default_voice.std() > 0.1
    trained, loaded = networks["model"].network.proj_in.weight, model.network.proj_in.weight
    torch.testing.assert_close(loaded, trained.detach(), atol=1e-3, rtol=1e-3, check_dtype=False)


def test_validation_has_its_own_data(tiny):
    train, valid = tiny.dataset("train"), tiny.dataset("valid")
    assert not torch.equal(train[0]["mel"], valid[0]["mel"])


def test_a_run_can_start_from_weights(tiny, tmp_path, monkeypatch):
    model = tiny.networks()["model"]
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(
                torch.randn(parameter.shape, generator=torch.Generator().manual_seed(parameter.numel())) / 9
            )
    tiny.export(model, tmp_path / "weights")
    monkeypatch.setattr(native, "_part", lambda role, part, source: None)
    again = override(tiny, [f"start={tmp_path / 'weights'}"]).networks()["model"]
    assert again.network.proj_in.weight.dtype == torch.float32
    for name, tensor in model.state_dict().items():
        if "modulation" in name:  # of rank 32 in the file, the nearest to what was learnt on what they see
            assert again.state_dict()[name].shape == tensor.shape
        else:
            torch.testing.assert_close(again.state_dict()[name], tensor, atol=1e-3, rtol=1e-3)
    with pytest.raises(ValueError, match="starts from weights of its own kind"):
        override(tiny, ["start=nexus/vocos-tiny"]).networks()
