"""Our F5-TTS against the reference class, on weights redrawn so that nothing is zero, through our hub."""

import importlib
import sys
import types
import warnings
from unittest.mock import MagicMock

import pytest
import torch
from safetensors.torch import save_file

from nexus.hub import f5tts as hub
from nexus.hub.source import Source
from nexus.models.audio.f5tts import F5TTS, F5TTSConfig
from nexus.models.audio.f5tts_dit import DiTConfig
from nexus.process.flow import last

SIZES = {"dim": 32, "depth": 2, "heads": 2, "dim_head": 16, "ff_mult": 2, "mel_dim": 20, "text_num_embeds": 30}
V1 = SIZES | {"text_dim": 16, "conv_layers": 2, "attn_mask_enabled": False}
V0 = V1 | {"text_mask_padding": False, "pe_attn_head": 1}
STUBS = ("torchaudio", "wandb", "rjieba", "pypinyin", "ema_pytorch", "f5_tts.model.trainer", "f5_tts.model.dataset")


@pytest.fixture(scope="module")
def reference():
    """The reference's DiT and CFM, what it can't import replaced."""
    before = dict(sys.modules)
    sys.modules |= {name: MagicMock() for name in STUBS if name not in sys.modules}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            dit = importlib.import_module("f5_tts.model.backbones.dit")
            cfm = importlib.import_module("f5_tts.model.cfm")
        yield types.SimpleNamespace(DiT=dit.DiT, CFM=cfm.CFM)
    except ImportError as error:
        pytest.skip(f"the reference does not import: {error}")
    finally:
        for name in set(sys.modules) - set(before):
            if name in STUBS or name.startswith("f5_tts"):
                del sys.modules[name]


def redrawn(module: torch.nn.Module) -> torch.nn.Module:
    rng = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=rng) * 0.15)
    return module.eval()


def published(network: torch.nn.Module, folder, name: str) -> Source:
    """A copy of the published layout: wrapped names, training leftovers, vocab.txt."""
    place = folder / name
    place.mkdir(parents=True)
    state = {f"ema_model.transformer.{key}": value.clone() for key, value in network.state_dict().items()}
    state |= {"initted": torch.tensor(True), "step": torch.tensor(1), "ema_model.mel_spec.window": torch.ones(3)}
    save_file(state, place / "model_1250000.safetensors")
    n_symbols = len(network.text_embed.text_embed.weight) - 1
    (place / "vocab.txt").write_text("".join(f"{chr(97 + i)}\n" for i in range(n_symbols)))
    return Source(str(folder), folder)


def ours(network: torch.nn.Module, folder, name: str, monkeypatch) -> F5TTS:
    monkeypatch.setattr(hub, "_vocoder", lambda source: None)
    source = published(network, folder, name)
    assert hub.recognise(source)
    return hub.load(source).eval()


def inputs(batch: int = 2, length: int = 37):
    rng = torch.Generator().manual_seed(1)
    x, cond = torch.randn(2, batch, length, 20, generator=rng)
    text = torch.randint(0, 30, (batch, 11), generator=rng)
    text[1, 7:] = -1
    mask = torch.arange(length) < torch.tensor([[length], [23]])
    return x, cond, text, torch.tensor([0.13, 0.71]), mask


@pytest.mark.parametrize(("name", "sizes"), [("F5TTS_v1_Base", V1), ("F5TTS_Base", V0)])
@pytest.mark.parametrize("drop", [False, True])
@torch.no_grad()
def test_network_equals_reference(reference, tmp_path, monkeypatch, name, sizes, drop):
    network = redrawn(reference.DiT(**sizes))
    model = ours(network, tmp_path, name, monkeypatch)
    assert model.config.network.mask_text_padding == (name == "F5TTS_v1_Base")
    x, cond, text, t, mask = inputs()
    expected = network(x, cond, text, t, mask=mask, drop_audio_cond=drop, drop_text=drop)
    dropped = torch.full((2,), drop)
    result = model.network(x.mT, t, cond.mT, text, mask, dropped, dropped).mT
    assert expected.std() > 1e-3
    torch.testing.assert_close(result[mask], expected[mask], atol=1e-5, rtol=1e-4)
    unmasked = network(x, cond, text, t, drop_audio_cond=drop, drop_text=drop)
    torch.testing.assert_close(
        model.network(x.mT, t, cond.mT, text, None, dropped, dropped).mT, unmasked, atol=1e-5, rtol=1e-4
    )
    assert (unmasked - expected)[1, :23].abs().max() > 1e-4  # the mask mattered


@pytest.mark.parametrize("guidance_scale", [0.0, 2.0])
@torch.no_grad()
def test_sampler_equals_reference(reference, tmp_path, monkeypatch, guidance_scale):
    network = redrawn(reference.DiT(**V1))
    model = ours(network, tmp_path, "F5TTS_v1_Base", monkeypatch)
    _, cond, text, _, _ = inputs()
    cond, duration = cond[:, :17], torch.tensor([37, 29])
    mel_spec = torch.nn.Identity()
    mel_spec.n_mel_channels = 20
    cfm = reference.CFM(network, mel_spec_module=mel_spec)
    expected, _ = cfm.sample(
        cond, text, duration, steps=5, cfg_strength=guidance_scale, sway_sampling_coef=-1.0, seed=3, use_epss=False
    )
    noise = torch.zeros(2, 37, 20)
    for i, length in enumerate(duration):
        torch.manual_seed(3)
        noise[i, :length] = torch.randn(int(length), 20)
    mask = torch.arange(37) < duration[:, None]
    known = torch.nn.functional.pad(cond, (0, 0, 0, 20)).mT
    states = model.sample(noise.mT, known, text, mask, steps=5, guidance_scale=guidance_scale, sway=-1.0)
    result = torch.cat([cond, last(states).mT[:, 17:]], dim=1)
    assert expected.std() > 1e-3
    torch.testing.assert_close(result[mask], expected[mask], atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_checkpoint_of_training_loads_too(reference, tmp_path, monkeypatch):
    network = redrawn(reference.DiT(**V1))
    monkeypatch.setattr(hub, "_vocoder", lambda source: None)
    published(network, tmp_path, "copy")
    (tmp_path / "copy" / "model_1250000.safetensors").unlink()
    state = {f"ema_model.transformer.{key}": value for key, value in network.state_dict().items()}
    path = tmp_path / "copy" / "model_7.pt"
    torch.save({"ema_model_state_dict": state, "step": 7}, path)
    model = hub.load(Source(str(path), path)).eval()
    x, cond, text, t, _ = inputs()
    torch.testing.assert_close(model(x.mT, t, cond.mT, text).mT, network(x, cond, text, t), atol=1e-5, rtol=1e-4)


@pytest.mark.slow
@torch.no_grad()
def test_official_width_equals_reference(reference):
    """The v1 Base sizes; four of its 22 layers, which are alike."""
    network = redrawn(
        reference.DiT(
            dim=1024,
            depth=4,
            heads=16,
            ff_mult=2,
            text_dim=512,
            text_num_embeds=2545,
            conv_layers=4,
            attn_mask_enabled=False,
        )
    )
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(0.2)
    state = {f"ema_model.transformer.{key}": value for key, value in network.state_dict().items()}
    config = hub.network_config(state, "F5TTS_v1_Base")
    assert config == DiTConfig(n_layers=4)
    model = F5TTS(F5TTSConfig(network=config)).eval()
    model.load_state_dict(hub.convert(state))
    rng = torch.Generator().manual_seed(1)
    x, cond = torch.randn(2, 2, 101, 100, generator=rng)
    text, t = torch.randint(0, 2545, (2, 40), generator=rng), torch.tensor([0.2, 0.9])
    expected = network(x, cond, text, t)
    assert expected.std() > 1e-3
    torch.testing.assert_close(model(x.mT, t, cond.mT, text).mT, expected, atol=1e-5, rtol=1e-4)
