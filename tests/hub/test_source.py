import pytest

from nexus.hub.source import EMBEDDED, Source, embedded_names, find


def test_unknown_names_get_the_nearest_ones():
    with pytest.raises(ValueError, match=r"nearest: .*nexus/"):
        find("nexus/f5tts-tny")
    with pytest.raises(ValueError, match="unknown model 'nonsense'"):
        find("nonsense")


def test_a_path_that_is_not_there_is_not_looked_for_on_the_hub():
    with pytest.raises(FileNotFoundError, match="no such file"):
        find("./missing/folder")
    with pytest.raises(FileNotFoundError, match="no such file"):
        find("weights.safetensors")


def test_a_hub_id_without_network_is_an_error_in_words(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(FileNotFoundError, match=r"facebook/musicgen-smal .*nearest: facebook/musicgen-small"):
        find("facebook/musicgen-smal")


def test_embedded_names_are_folders_with_a_config():
    for name in embedded_names():
        source = find(name)
        assert source.path.parent == EMBEDDED and source.config["kind"]


def test_a_missing_part_lists_what_is_there(tmp_path):
    (tmp_path / "vae").mkdir()
    source = Source("mine", tmp_path)
    assert source.part("vae").name == "mine/vae"
    with pytest.raises(FileNotFoundError, match="transformer is missing; the folder holds vae"):
        source.part("transformer")


def test_a_damaged_config_is_named(tmp_path):
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ValueError, match=r"config\.json: not valid JSON"):
        _ = Source("mine", tmp_path).config
