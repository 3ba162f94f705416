"""The recipes of vocoders and codecs take steps, with and without discriminators, and export what loads."""

import dataclasses

import numpy as np
import pytest
import torch

import nexus
from nexus.codecs.encodec import Encodec, EncodecConfig
from nexus.codecs.frames import FrameCoderConfig
from nexus.codecs.fsq_codec import FSQCodec
from nexus.codecs.hifigan import HiFiGAN
from nexus.codecs.soundstream import SoundStream, SoundStreamConfig
from nexus.codecs.spectral_codec import BlocksConfig, SpectralCodec, SpectralCodecConfig
from nexus.codecs.vocos import Vocos, VocosConfig
from nexus.nn.fsq import FSQConfig
from nexus.nn.quantize import QuantizerConfig
from nexus.recipes import (
    encodec_tiny,
    fsq_tiny,
    hifigan_tiny,
    soundstream_tiny,
    spectral_tiny,
    spectral_vocoder_tiny,
    vocos_tiny,
)
from nexus.recipes.spectral_tiny import start_from_vocoder
from nexus.training.adversarial import AdversarialConfig
from nexus.training.loop import train
from nexus.training.recipe import LoopConfig

ADVERSARIAL = AdversarialConfig(start=1, items=1, length=1024, n_ffts=(128,), n_filters=2, periods=(2,), widths=(2, 3))
LOOP = LoopConfig(steps=2, precision="fp32", log_every=1, save_every=2, sample_every=0, validate_every=0)
VOCOS = VocosConfig(dim=8, hidden_dim=8, n_layers=1)


@pytest.fixture
def cache(tmp_path):
    rng = np.random.default_rng(0)
    for name in ("speech", "music", "sound"):
        recording = rng.normal(0, 3000, 120000) * np.abs(np.sin(np.arange(120000) / 5000))
        np.save(tmp_path / f"{name}-train-24000.npy", recording.astype(np.int16))
    return tmp_path


def figures_of(recipe, folder) -> list[dict]:
    figures = []
    train(recipe, folder, on_log=lambda step, values: figures.append(values))
    return figures


def test_vocos(cache):
    recipe = dataclasses.replace(
        vocos_tiny.recipe,
        loop=LOOP,
        model=VOCOS,
        cache=str(cache),
        batch_size=2,
        length=4096,
        adversarial=ADVERSARIAL,
    )
    first, second = figures_of(recipe, cache / "run")
    assert first["discriminators/loss"] == 0
    assert "model/adversarial" not in first
    assert second["discriminators/loss"] > 0
    assert second["model/adversarial"] > 0
    model = nexus.load(cache / "run" / "weights")
    assert isinstance(model, Vocos)
    assert model.decode(torch.randn(1, 100, 5)).shape == (1, 1, 4 * 256)
    again = dataclasses.replace(recipe, start=str(cache / "run" / "weights")).networks()["model"]
    torch.testing.assert_close(again.state_dict(), model.state_dict())


def test_hifigan(cache):
    tiny = hifigan_tiny.tiny()
    recipe = dataclasses.replace(
        hifigan_tiny.recipe,
        loop=LOOP,
        model=dataclasses.replace(tiny, upsampler=dataclasses.replace(tiny.upsampler, dim=8)),
        cache=str(cache),
        batch_size=2,
        length=4096,
        adversarial=hifigan_tiny.HiFiGANJudges(
            start=1, items=1, length=1024, periods=(2,), widths=(2, 3), n_scales=2, scale_width=16
        ),
    )
    first, second = figures_of(recipe, cache / "run")
    assert first["discriminators/loss"] == 0
    assert first["model/loss"] == pytest.approx(45 * first["model/mel"], rel=1e-4)
    # Three judges, that know nothing yet: each loses about 1 on what is real.
    assert 2 < second["discriminators/loss"] < 5
    figures = (second[f"model/{name}"] for name in ("mel", "adversarial", "features"))
    assert second["model/loss"] == pytest.approx(sum(w * x for w, x in zip((45, 1, 2), figures, strict=True)), rel=1e-4)
    model = nexus.load(cache / "run" / "weights")
    assert isinstance(model, HiFiGAN)
    assert model.decode(torch.randn(1, 100, 5)).shape == (1, 1, 5 * 256)


def test_fsq(cache):
    tiny = fsq_tiny.tiny()
    recipe = dataclasses.replace(
        fsq_tiny.recipe,
        loop=dataclasses.replace(LOOP, steps=3),
        model=dataclasses.replace(
            tiny,
            encoder=dataclasses.replace(tiny.encoder, dim=2),
            decoder=dataclasses.replace(tiny.decoder, dim=16),
            quantizer=FSQConfig(n_groups=2, levels=(4, 3)),
        ),
        cache=str(cache),
        batch_size=3,
        length=3200,
        adversarial=fsq_tiny.FSQJudges(
            start=1, items=1, length=2048, n_ffts=(512,), n_filters=2, periods=(2,), widths=(2, 3)
        ),
    )
    first, second, third = figures_of(recipe, cache / "run")
    assert first["model/loss"] == pytest.approx(10 * (first["model/mel"] + first["model/stft"]), rel=1e-4)
    assert 1 <= first["model/perplexity"] <= first["model/used"] <= 12
    # Discriminators join in the second step, and learn in every other one.
    assert [x["discriminators/loss"] > 0 for x in (first, second, third)] == [False, True, False]
    assert "model/adversarial" not in first
    assert third["model/adversarial"] > 0 and third["model/features"] > 0
    codec = nexus.load(cache / "run" / "weights")
    assert isinstance(codec, FSQCodec)
    assert codec.decode(codec.encode(torch.randn(1, 1, 700)), 700).shape == (1, 1, 700)


def test_spectral(cache):
    Vocos(VOCOS).save(cache / "vocoder")
    blocks = BlocksConfig(in_dim=100, dim=8, hidden_dim=8, n_layers=2)
    recipe = dataclasses.replace(
        spectral_tiny.recipe,
        loop=LOOP,
        model=SpectralCodecConfig(
            encoder=dataclasses.replace(blocks, n_layers=1),
            quantizer=QuantizerConfig(n_codebooks=2, codebook_size=8, dim=16, k_means_steps=2),
            decoder=blocks,
            n_iterations=2,
        ),
        cache=str(cache),
        vocoder=str(cache / "vocoder"),
        fitting_seconds=4,
        batch_size=3,
        length=4096,
    )
    learnt, start = Vocos(VOCOS).state_dict(), recipe.build().decoder.layers[0].state_dict()
    start_from_vocoder(network := recipe.build().decoder.layers[0], learnt, "test")
    assert torch.equal(network.state_dict()["out.weight"], learnt["head.weight"][:513])
    assert torch.equal(network.state_dict()["blocks.0.gamma"], learnt["blocks.0.gamma"])
    assert (start["blocks.1.gamma"] == 0.01).all()
    first, second = figures_of(recipe, cache / "run")
    weights = {"log": 1.0, "root": 5.0, "mel": 0.5, "loudness": 4.0, "commitment": 0.5}
    assert first["loss"] == pytest.approx(sum(w * first[name] for name, w in weights.items()), rel=1e-4)
    assert 1 <= second["perplexity_1"] <= 8
    depths = recipe.depths(1000, torch.Generator().manual_seed(0))
    assert 0.7 < (depths == 2).float().mean() < 0.8 and depths.min() == 1
    codec = nexus.load(cache / "run" / "weights")
    assert isinstance(codec, SpectralCodec)
    assert codec.decode(codec.encode(torch.randn(1, 1, 700)), 700).shape == (1, 1, 700)


def test_samples_let_hear_each_source_once(cache):
    np.save(cache / "speech-valid-24000.npy", np.load(cache / "speech-train-24000.npy"))
    recipe = dataclasses.replace(hifigan_tiny.recipe, sources=("speech", "speech"), cache=str(cache), sample_seconds=1)
    heard = recipe.samples(recipe.build().eval(), 0)
    assert list(heard) == ["speech-original", "speech"]
    assert heard["speech-original"].samples.shape == (1, 24000)
    assert heard["speech"].samples.shape == (1, 24000 // 256 * 256)


def test_encodec(cache):
    Vocos(VOCOS).save(cache / "vocoder")
    frames = FrameCoderConfig(dim=8, hidden_dim=8, n_layers=1, vocos=dataclasses.replace(VOCOS, padding="same"))
    quantizer = QuantizerConfig(n_codebooks=2, codebook_size=8, dim=48, k_means_steps=2)
    recipe = dataclasses.replace(
        encodec_tiny.recipe,
        loop=LOOP,
        model=EncodecConfig(quantizer=quantizer, frames=frames),
        cache=str(cache),
        vocoder=str(cache / "vocoder"),
        fitting_seconds=4,
        batch_size=2,
        length=4096,
        adversarial=ADVERSARIAL,
    )
    first, second = figures_of(recipe, cache / "run")
    assert first["discriminators/loss"] == 0
    assert second["discriminators/loss"] > 0
    assert second["model/tones"] > 0
    codec = nexus.load(cache / "run" / "weights")
    assert isinstance(codec, Encodec)
    waveform = torch.from_numpy(np.load(cache / "speech-train-24000.npy")[:20000] / 32767).float()[None, None]
    codes = codec.encode(waveform)
    assert len(codes.unique()) > 4
    # Going on with the decoder keeps encoder and codes.
    again = dataclasses.replace(recipe, fitted=str(cache / "run" / "weights"))
    figures_of(again, cache / "second")
    assert torch.equal(nexus.load(cache / "second" / "weights").encode(waveform), codes)


def test_soundstream(cache):
    recipe = dataclasses.replace(
        soundstream_tiny.recipe,
        loop=dataclasses.replace(LOOP, steps=3),
        model=SoundStreamConfig(n_filters=2, quantizer=QuantizerConfig(n_codebooks=3, codebook_size=8, dim=4)),
        cache=str(cache),
        batch_size=2,
        length=4096,
        adversarial=soundstream_tiny.SoundStreamJudges(
            start=1, items=1, length=2048, n_ffts=(128,), n_filters=2, wave_filters=4
        ),
    )
    first, *_, last = figures_of(recipe, cache / "run")
    assert first["discriminators/loss"] == 0
    assert last["discriminators/loss"] > 0
    assert last["model/adversarial"] > 0
    codec = nexus.load(cache / "run" / "weights")
    assert isinstance(codec, SoundStream)
    codes = codec.encode(torch.randn(1, 1, 1000), denoise=True)
    assert codec.decode(codes, length=1000).shape == (1, 1, 1000)


def test_spectra_start_from_no_other_kind():
    recipe = dataclasses.replace(spectral_vocoder_tiny.recipe, start="nexus/encodec-tiny")
    with pytest.raises(ValueError, match="nexus/encodec-tiny is no Vocos"):
        recipe.build()
