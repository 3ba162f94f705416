"""The recipe of the small Mimi takes steps, with and without discriminators, and exports what loads."""

import dataclasses

import numpy as np
import torch

import nexus
from nexus.codecs.mimi import Mimi
from nexus.nn.quantize import QuantizerConfig
from nexus.nn.sliding import SlidingTransformerConfig
from nexus.recipes import mimi_tiny
from nexus.training.adversarial import AdversarialConfig
from nexus.training.loop import train
from nexus.training.recipe import LoopConfig

ADVERSARIAL = AdversarialConfig(start=1, items=1, length=1024, n_ffts=(128,), n_filters=2, periods=(2,), widths=(2, 3))
LOOP = LoopConfig(steps=3, precision="fp32", log_every=1, save_every=3, sample_every=0, validate_every=0)


def test_steps_and_export(tmp_path):
    rng = np.random.default_rng(0)
    recording = rng.normal(0, 3000, 60000) * np.abs(np.sin(np.arange(60000) / 5000))
    np.save(tmp_path / "speech-train-24000.npy", recording.astype(np.int16))
    model = dataclasses.replace(
        mimi_tiny.tiny(),
        latent_dim=16,
        seanet=dataclasses.replace(mimi_tiny.tiny().seanet, n_filters=2),
        transformer=SlidingTransformerConfig(dim=16, n_layers=1, n_heads=2, hidden_dim=16, window=5),
        upsample_groups=16,
        quantizer=QuantizerConfig(n_codebooks=3, codebook_size=8, dim=4, k_means_steps=2),
    )
    recipe = dataclasses.replace(
        mimi_tiny.recipe,
        loop=LOOP,
        model=model,
        cache=str(tmp_path),
        batch_size=2,
        length=3840,
        adversarial=ADVERSARIAL,
    )
    figures = []
    train(recipe, tmp_path / "run", on_log=lambda step, values: figures.append(values))
    assert figures[0]["discriminators/loss"] == 0
    assert figures[-1]["discriminators/loss"] > 0
    assert figures[-1]["model/adversarial"] > 0
    assert 0 < figures[-1]["model/semantic"] < 2
    codec = nexus.load(tmp_path / "run" / "weights")
    assert isinstance(codec, Mimi)
    codes = codec.encode(torch.randn(1, 1, 5000))
    assert codes.shape == (1, 3, 3)
    assert codec.decode(codes, length=5000).shape == (1, 1, 5000)


def test_cepstra_follow_the_frames_and_not_the_loudness():
    torch.manual_seed(0)
    waveform = torch.randn(2, 1, 24000)
    waveform[..., 12000:] = waveform[..., 12000:].cumsum(-1) / 10  # another colour
    features = mimi_tiny.cepstra(waveform, 24000, 1920)
    assert features.shape == (2, 20, 13)
    assert (features[:, 0, :5].mean() - features[:, 0, -5:].mean()).abs() > 1
    torch.testing.assert_close(mimi_tiny.cepstra(0.5 * waveform, 24000, 1920), features, atol=1e-2, rtol=0)
    assert mimi_tiny.cepstra(waveform[..., :7680], 24000, 1920).shape[-1] == 4
