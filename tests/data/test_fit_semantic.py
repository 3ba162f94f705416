"""Centres from a folder: heard once, clustered, and again the same; a small random encoder of transformers."""

import numpy as np
import pytest
import torch
import transformers

from nexus.data.fit_semantic import fit_semantic
from nexus.data.sound_files import find_sounds
from nexus.hub.source import find
from nexus.hub.speech_encoder import load_speech_encoder
from nexus.media.audio import Audio
from nexus.nn.quantize import nearest


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """An encoder's folder beside one with a minute of sound, one file of it cut short."""
    place = tmp_path_factory.mktemp("place")
    torch.manual_seed(0)
    config = transformers.HubertConfig(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=16, conv_dim=(4,) * 7,
        num_conv_pos_embeddings=8, num_conv_pos_embedding_groups=2, do_stable_layer_norm=True,
        feat_extract_norm="layer",
    )  # fmt: skip
    transformers.HubertModel(config).save_pretrained(place / "hubert")
    (place / "in").mkdir()
    rng = np.random.default_rng(0)
    for i, seconds in enumerate((1.5, 0.7, 2.2)):
        tones = np.sin(np.cumsum(rng.uniform(0.01, 0.5, 8).repeat(round(seconds * 1000))))
        Audio(0.3 * np.stack([tones, tones]), 8000).save(place / "in" / f"{i}.wav")
    (place / "in" / "cut.wav").write_bytes((place / "in" / "0.wav").read_bytes()[:9000])
    return place


def fit(place, **settings):
    encoder = load_speech_encoder(find(place / "hubert"), 1)
    return fit_semantic(find_sounds(place / "in"), encoder, layer=1, **{"n_clusters": 9, **settings})


def test_centres_are_those_of_what_was_heard(place):
    found = fit(place)
    assert (
        found.seconds == pytest.approx(4.4) and len(found.left_out) == 1 and "cut.wav is damaged" in found.left_out[0]
    )
    assert found.rows == found.frames == sum(found.tokens.n_frames(n) for n in (24_000, 11_200, 35_200))
    states = [
        found.tokens.features(Audio.load(place / "in" / f"{i}.wav", rate=16000, mono=True).tensor()[None])[0]
        for i in range(3)
    ]
    rows = torch.cat(states)
    codes = nearest(rows, found.tokens.centres)
    means = torch.stack([rows[codes == i].mean(0) for i in range(9)])
    assert len(codes.unique()) == 9 and found.distance < 0.7 * found.variance and found.perplexity > 3
    torch.testing.assert_close(means, found.tokens.centres, atol=0.1 * rows.std().item(), rtol=0)


def test_the_same_seed_makes_the_same(place):
    first, second, other = (fit(place, seed=seed).tokens.centres for seed in (1, 1, 2))
    assert torch.equal(first, second) and not torch.equal(first, other)


def test_only_so_many_rows_are_held(place):
    found = fit(place, rows=40)
    assert found.rows == 40 and found.frames > 200


def test_too_little(place):
    with pytest.raises(ValueError, match=r"5000 clusters need as many frames, 4 files have 2\d\d \(.*cut.wav"):
        fit(place, n_clusters=5000)
    with pytest.raises(ValueError, match="9 clusters need at least as many rows, got 8"):
        fit(place, rows=8)
