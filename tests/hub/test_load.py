"""What a model is, told before its weights are read."""

import json

import pytest

import nexus
from nexus.hub.load import kind_of
from nexus.hub.source import embedded_names


@pytest.mark.parametrize("name", embedded_names())
def test_the_kind_of_our_own_is_the_class_that_loads(name):
    assert kind_of(name) == type(nexus.load(name, device="cpu")).__name__


# what a folder holds, by file name; empty files stand for weights, which are not read
FOREIGN = {
    "MusicGen": {"config.json": {"model_type": "musicgen_melody"}},
    "Encodec": {"config.json": {"model_type": "encodec"}},
    "CogVideoX": {"model_index.json": {"_class_name": "CogVideoXPipeline"}},
    "CogVideoXVAE": {"config.json": {"_class_name": "AutoencoderKLCogVideoX"}},
    "Vocos": {"config.yaml": {"backbone": {}}, "pytorch_model.bin": None},
    "F5TTS": {"F5TTS_v1_Base/model_1250000.pt": None, "F5TTS_v1_Base/vocab.txt": None},
}
ORIGINAL = {
    "MusicGen": {"state_dict.bin": None, "compression_state_dict.bin": None},
    "Encodec": {"encodec_24khz-d7cc33bc.th": None},
    "CogVideoX": {"transformer/1000/mp_rank_00_model_states.pt": None},
}


@pytest.mark.parametrize(
    ("kind", "files"), [*FOREIGN.items(), *ORIGINAL.items()], ids=[*FOREIGN, *(f"{kind}-original" for kind in ORIGINAL)]
)
def test_the_kind_of_others_needs_no_tensors(tmp_path, kind, files):
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("" if content is None else json.dumps(content))
    assert kind_of(tmp_path) == kind


@pytest.mark.parametrize(("name", "kind"), [("3d-vae.pt", "CogVideoXVAE"), ("mp_rank_00_model_states.pt", "CogVideoX")])
def test_the_kind_of_a_file_that_tells_it_by_name(tmp_path, name, kind):
    (tmp_path / name).touch()
    assert kind_of(tmp_path / name) == kind


def test_an_unknown_kind_or_layout_is_refused(tmp_path):
    with pytest.raises(ValueError, match="no known layout"):
        kind_of(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"kind": "smell", "config": {}}))
    with pytest.raises(ValueError, match="unknown kind 'smell'; there are encodec"):
        kind_of(tmp_path)


def test_a_setting_that_every_official_folder_has_is_named(tmp_path):
    (tmp_path / "config.json").write_text('{"_class_name": "SD3Transformer2DModel", "num_layers": 2}')
    with pytest.raises(ValueError, match="'num_attention_heads' is missing from its settings or its tensors"):
        nexus.load(tmp_path, device="cpu")
