"""A vocoder taught on frames that a model made: the frames, in step with recordings, and the recipe."""

import dataclasses

import numpy as np
import pytest
import torch

import nexus
from nexus.codecs.spectral_codec import BlocksConfig
from nexus.codecs.spectral_vocoder import SpectralVocoder, SpectralVocoderConfig
from nexus.data.mel_cache import mirror_top, recorded_mels
from nexus.data.remade import FrameCrops, Remade
from nexus.data.speech import read_manifest
from nexus.hub import native
from nexus.media.features import log_mel, stft
from nexus.models.audio.f5tts import F5TTS
from nexus.process.spectral import band_distance
from nexus.recipes import f5tts_tiny
from nexus.recipes.f5tts_vocoder_tiny import SpectrumJudge, recipe
from nexus.training.loop import train
from nexus.training.recipe import LoopConfig, override


@pytest.fixture
def speaker(speech_corpus, tmp_path):
    """A narrow F5-TTS whose weights mean nothing."""
    settings = [f"corpus={speech_corpus}", f"cache={tmp_path / 'cache' / 'speech'}", "dim=32", "n_layers=1"]
    torch.manual_seed(0)
    return override(f5tts_tiny.recipe, settings)


def test_what_is_made_again_keeps_step_and_is_the_same_each_time(speech_corpus, speaker, tmp_path, monkeypatch):
    utterances = read_manifest(speech_corpus, "train")
    model = F5TTS(speaker.config()).eval()
    mels = recorded_mels(speech_corpus, "train", tmp_path / "mels", model.config.mel, utterances)
    remade = Remade(model, utterances, mels)
    first = remade(utterances[1])
    assert first.shape == mels[utterances[1]].shape and np.isfinite(first).all()
    np.testing.assert_array_equal(first, remade(utterances[1]))
    # A network that knows the data gives them back, not sharpened.
    data = torch.from_numpy(mels[utterances[1]].astype(np.float32)).T[None]

    def knowing(noise, cond, text, *, steps, guidance_scale, first):
        assert steps == 12 and first in (5, 6, 7)
        n_voice = cond.shape[-1] - data.shape[-1]
        assert (text[0, :n_voice] == -1).all() and (text[0, n_voice:] >= 0).all()
        assert (cond[..., n_voice:] == 0).all() and cond[..., :n_voice].abs().sum() > 0
        yield torch.cat([cond[..., :n_voice], model.normalise(data)], dim=-1)

    monkeypatch.setattr(model, "sample", knowing)
    np.testing.assert_allclose(remade(utterances[1]), data[0].T, atol=1e-4)


def test_crops_are_frames_of_their_sound(speech_corpus, tmp_path):
    utterances = read_manifest(speech_corpus, "train")
    mel = SpectralVocoderConfig().mel
    recorded = recorded_mels(speech_corpus, "train", tmp_path / "mels", mel, utterances)
    sizes = {"n_frames": 90, "n_fft": 1024, "hop_length": 256, "batch_size": 6, "n_made": 2}
    crops = FrameCrops(speech_corpus, utterances, recorded, recorded, **sizes, seed=3)
    batch = crops[5]
    assert batch["features"].shape == (6, 100, 90) and batch["waveform"].shape == (6, 1, 89 * 256 + 1024)
    assert batch["step"].tolist() == [5]
    spectra = stft(batch["waveform"][:, 0], 1024, 256, 1024, 0).abs().clamp(min=1e-7).log()
    assert spectra.shape == (6, 513, 90)
    ours = torch.nn.functional.pad(batch["waveform"][:, 0], (512, 512))
    mels = log_mel(ours, mel)[..., 4:-4]
    inner = slice(3, -3)  # recordings' own mels reflect their ends, windows here see silence beyond them
    torch.testing.assert_close(batch["features"][..., inner], mels[..., inner], atol=0.02, rtol=0)
    for name, value in crops[5].items():
        torch.testing.assert_close(value, batch[name])
    with pytest.raises(ValueError, match="crops of 400 frames need utterances at least as long"):
        FrameCrops(speech_corpus, utterances, recorded, recorded, **sizes | {"n_frames": 400}, seed=3)


def test_a_run_teaches_with_and_without_its_judge(speech_corpus, speaker, tmp_path, monkeypatch):
    monkeypatch.setattr(native, "_part", lambda role, part, source: None)
    speaker.export(speaker.networks()["model"], tmp_path / "speaker")
    config = SpectralVocoderConfig(blocks=BlocksConfig(in_dim=100, dim=8, hidden_dim=8, n_layers=1), n_iterations=1)
    SpectralVocoder(config).save(tmp_path / "start")
    small = dataclasses.replace(
        recipe,
        loop=LoopConfig(steps=2, precision="fp32", log_every=1, save_every=2, sample_every=0, validate_every=2),
        model=config,
        corpus=str(speech_corpus),
        cache=str(tmp_path / "cache"),
        start=str(tmp_path / "start"),
        speaker=str(tmp_path / "speaker"),
        n_utterances=3,
        batch_size=3,
        length=40,
        margin=4,
        adversarial=SpectrumJudge(start=1, items=2, length=32, width=2),
    )
    figures = []
    train(small, tmp_path / "run", on_log=lambda step, values: figures.append(values))
    assert figures[0]["discriminators/loss"] == 0 and "model/adversarial" not in figures[0]
    assert figures[1]["discriminators/loss"] > 0 and figures[1]["model/adversarial"] > 0
    learnt = nexus.load(tmp_path / "run" / "weights")
    assert isinstance(learnt, SpectralVocoder) and learnt.config == config
    with pytest.raises(ValueError, match="is another"):
        dataclasses.replace(small, start="nexus/spectral-vocoder-tiny").networks()
    with pytest.raises(ValueError, match="frames are made by an F5TTS"):
        dataclasses.replace(small, speaker="nexus/vocos-tiny", n_utterances=2).dataset("train")


def test_bands_do_not_see_what_is_inside_them():
    silence = torch.full((1, 513, 4), -6.0)
    upper, lower = silence.clone(), silence.clone()
    upper[:, 400], lower[:, 402] = 0.0, 0.0
    assert band_distance(upper, lower, 24000, 1e-3, 10) < 0.1 * band_distance(upper, lower, 24000, 1e-3, 100)
    assert band_distance(upper, upper, 24000, 1e-3, 10) == 0


@pytest.mark.parametrize("change", [{"margin": 0}, {"length": 90}, {"batch_size": 8}])
def test_sizes_that_leave_nothing_to_learn_from_are_refused(change):
    with pytest.raises(ValueError, match="must be"):
        dataclasses.replace(recipe, **change)


def test_the_empty_top_of_a_mel_mirrors_what_is_below_it():
    mel = np.arange(200, dtype=np.float32).reshape(2, 100)
    low = mel.copy()
    mirror_top(low, SpectralVocoderConfig().mel, 9000.0)
    n = int((low != mel)[0].sum())
    assert 2 < n < 20
    np.testing.assert_array_equal(low[:, 100 - n :], mel[:, 100 - 2 * n : 100 - n][:, ::-1])
