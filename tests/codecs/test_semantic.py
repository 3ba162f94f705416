"""Semantic tokens over small random encoders of transformers, loaded through the layouts of transformers and ours."""

import json

import pytest
import torch
import transformers

import nexus
from nexus.codecs.long_sounds import encode_long
from nexus.codecs.semantic import SemanticConfig, SemanticTokens
from nexus.hub.source import find
from nexus.hub.speech_encoder import load_speech_encoder
from nexus.media.audio_blocks import SoundBlocks
from nexus.nn.quantize import nearest

SMALL = {
    "hidden_size": 16,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "num_conv_pos_embeddings": 8,
    "num_conv_pos_embedding_groups": 2,
}
CONVS = {"conv_dim": (8,) * 7}
KINDS = {
    "hubert-base": ("Hubert", SMALL | CONVS | {"feat_extract_norm": "group"}),
    "hubert-large": (
        "Hubert",
        SMALL | CONVS | {"feat_extract_norm": "layer", "do_stable_layer_norm": True, "conv_bias": True},
    ),
    "wav2vec2": ("Wav2Vec2", SMALL | CONVS | {"feat_extract_norm": "layer", "do_stable_layer_norm": True}),
    "w2v-bert": ("Wav2Vec2Bert", SMALL | {"conv_depthwise_kernel_size": 5}),
}
LAYER = 2


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A folder of each kind as transformers publishes it."""
    made = {}
    for name, (kind, values) in KINDS.items():
        torch.manual_seed(0)
        model = getattr(transformers, f"{kind}Model")(getattr(transformers, f"{kind}Config")(**values)).eval()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.1 * torch.randn_like(parameter))
        made[name] = tmp_path_factory.mktemp(name)
        model.save_pretrained(made[name])
        bert = kind == "Wav2Vec2Bert"
        extractor = transformers.SeamlessM4TFeatureExtractor() if bert else transformers.Wav2Vec2FeatureExtractor()
        extractor.save_pretrained(made[name])
    return made


def tokens(folder, name, tmp_path, window=1500, n=20):
    """Loaded from our own folder, with centres among the states of noise."""
    encoder = load_speech_encoder(find(folder), LAYER)
    config = SemanticConfig(
        n_clusters=n,
        dim=16,
        layer=LAYER,
        hop_length=encoder.hop_length,
        field_length=encoder.field_length,
        window=window,
    )
    model = SemanticTokens(config)
    model.speech_encoder = encoder
    torch.manual_seed(1)
    states = model.features(sound(1, 40_000))[0]
    model.centres.copy_(states[torch.randperm(len(states))[:n]])
    model.save(tmp_path / name, str(folder))
    return nexus.load(tmp_path / name, device="cpu")


def sound(batch, length):
    noise, loudness = torch.randn(batch, 1, length), torch.rand(batch, 1, length // 2000 + 1)
    return 0.3 * noise * loudness[..., torch.arange(length) // 2000]


@pytest.mark.parametrize("name", KINDS)
def test_states_are_transformers(folders, name, tmp_path):
    model, x = tokens(folders[name], name, tmp_path), sound(1, 9001)
    theirs = getattr(transformers, f"{KINDS[name][0]}Model").from_pretrained(folders[name]).eval()
    extractor = transformers.AutoFeatureExtractor.from_pretrained(folders[name])
    inputs = extractor(x[0, 0].numpy(), sampling_rate=16000, return_tensors="pt")
    with torch.no_grad():
        expected = theirs(**inputs, output_hidden_states=True).hidden_states[LAYER]
    states = model.features(x)
    assert states.shape == (1, model.n_frames(9001), 16) and states.std() > 0.1
    torch.testing.assert_close(states, expected[:, : states.shape[1]], atol=1e-5, rtol=1e-4)
    codes = model.encode(x)
    assert torch.equal(codes[0, 0], nearest(expected[0, : states.shape[1]], model.centres))
    assert len(codes.unique()) > 5 and model.codebook_size == 20 and model.n_codebooks == 1 and model.frame_rate == 50


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("window", [1500, 10])
def test_a_batch_is_its_items(folders, name, window, tmp_path):
    model, lengths = tokens(folders[name], name, tmp_path, window), [9001, 4007, 700]
    x = sound(3, 9001)
    mask = torch.arange(9001) < torch.tensor(lengths)[:, None]
    together = model.features(x, mask)
    codes = model.encode(x, mask)
    for i, length in enumerate(lengths):
        alone = model.features(x[i : i + 1, :, :length])
        n = alone.shape[1]
        assert alone.abs().max() > 0.1
        torch.testing.assert_close(together[i, :n], alone[0], atol=1e-5, rtol=1e-4)
        assert (together[i, n:] == 0).all() and (codes[i, 0, n:] == -1).all()
        assert torch.equal(codes[i, 0, :n], model.encode(x[i : i + 1, :, :length])[0, 0])
        assert torch.equal(model.frame_mask(mask)[i], codes[i, 0] >= 0)


@pytest.mark.parametrize("name", ["hubert-base", "w2v-bert"])
@pytest.mark.parametrize("length", [1, 399, 400, 560, 561, 720, 3599, 3600, 10_000])
@pytest.mark.parametrize("chunk", [333, 4000])
def test_a_stream_is_the_whole(folders, name, length, chunk, tmp_path):
    model, x = tokens(folders[name], name, tmp_path, window=10), sound(1, length)
    codes = model.encode(x)
    assert codes.shape == (1, 1, model.n_frames(length))
    blocks = (part[0].numpy() for part in x.split(chunk, -1))
    coded = encode_long(model, SoundBlocks(rate=16000, channels=1, blocks=blocks))
    assert torch.equal(torch.from_numpy(coded.codes), codes.int())
    with model.streaming() as stream:
        parts = x.split(chunk, dim=-1)
        heard = [stream.encode(part, last=i == len(parts) - 1) for i, part in enumerate(parts)]
    assert torch.equal(torch.cat(heard, -1), codes)


def test_assignments_are_scikit_learns(folders, tmp_path):
    cluster = pytest.importorskip("sklearn.cluster")
    model, x = tokens(folders["hubert-large"], "mine", tmp_path), sound(2, 30_000)
    states = model.features(x).flatten(0, 1).numpy()
    theirs = cluster.KMeans(20, init=model.centres.numpy(), n_init=1, max_iter=1).fit(states)
    theirs.cluster_centers_ = model.centres.numpy()
    expected = theirs.predict(states)
    assert len(set(expected)) > 5 and (model.encode(x).flatten().numpy() == expected).all()


def test_layers_above_are_not_computed(folders):
    encoder = load_speech_encoder(find(folders["wav2vec2"]), 1)
    assert len(encoder.model.encoder.layers) == 1


def test_our_folder_leaves_the_encoder_where_it_is(folders, tmp_path):
    model = tokens(folders["wav2vec2"], "mine", tmp_path)
    assert (tmp_path / "mine" / "model.safetensors").stat().st_size < 2000
    assert model.info.kind == "SemanticTokens" and not any(p.requires_grad for p in model.parameters())
    before = model.info.weights_hash
    other = tokens(folders["hubert-base"], "other", tmp_path)
    assert other.info.weights_hash != before


def damaged(folder, tmp_path, **values):
    (tmp_path / "bad").mkdir()
    for file in folder.iterdir():
        (tmp_path / "bad" / file.name).write_bytes(file.read_bytes())
    config = json.loads((folder / "config.json").read_text()) | values
    (tmp_path / "bad" / "config.json").write_text(json.dumps(config))
    return find(tmp_path / "bad")


@pytest.mark.parametrize(
    ("values", "layer", "sentence"),
    [
        ({"model_type": "bert"}, 1, "is a bert, and semantic tokens need one of wav2vec2, hubert, wav2vec2-bert"),
        ({}, 4, "layer must be 1 to 3, got 4"),
        ({}, 0, "layer must be 1 to 3, got 0"),
        ({"num_hidden_layers": 4}, 1, "tensors missing or misshapen"),
        ({"hidden_size": 32}, 1, "not a readable HubertModel|misshapen"),
    ],
)
def test_wrong_encoders(folders, tmp_path, values, layer, sentence):
    with pytest.raises(ValueError, match=sentence):
        load_speech_encoder(damaged(folders["hubert-base"], tmp_path, **values), layer)


def test_wrong_sounds_and_configs(folders, tmp_path):
    model = tokens(folders["wav2vec2"], "mine", tmp_path)
    with pytest.raises(ValueError, match="an empty waveform has no tokens"):
        model.encode(torch.zeros(1, 1, 0))
    with pytest.raises(ValueError, match="an empty waveform has no tokens"):
        model.encode(torch.zeros(2, 1, 9), torch.tensor([[True] * 9, [False] * 9]))
    assert model.encode(torch.zeros(1, 1, 5000)).shape == (1, 1, model.n_frames(5000))  # silence
    with pytest.raises(ValueError, match="must be positive"):
        SemanticConfig(layer=0)
    with pytest.raises(ValueError, match="field_length"):
        SemanticConfig(field_length=100)
