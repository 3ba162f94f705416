"""Folders of an adapted model, and what is wrong with them."""

import json

import pytest

import nexus
from nexus.adapters.lora import LoRA, LoRAConfig
from nexus.hub.adapted import save_adapted

BASE = "nexus/image-tiny"


@pytest.fixture(scope="module")
def base():
    return nexus.load(BASE, device="cpu")


@pytest.fixture
def folder(base, tmp_path):
    lora = LoRA.fresh(base.network, LoRAConfig(rank=2, targets=("proj_out",)))
    save_adapted(tmp_path, BASE, lora, base.network, {"steps": 5})
    return tmp_path


def test_an_adapted_model_is_its_base_with_other_settings(base, folder):
    model = nexus.load(folder, device="cpu")
    assert type(model) is type(base) and model.config.steps == 5 and base.config.steps != 5
    assert model.info.weights_hash != base.info.weights_hash and model.info.licence == "Apache-2.0"
    assert model.info.config_hash != base.info.config_hash


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"config": {"n_steps": 5}}, "unknown key 'n_steps'; the base has"),
        ({"parts": {}}, "parts must name the base"),
        ({"parts": {"base": "nexus/image-tinny"}}, "image-tiny"),
        ({"parts": {"base": "nexus/musicgen-tiny"}}, "unknown key 'steps'; the base has candidates, codebook_size"),
    ],
)
def test_what_is_refused(folder, change, message):
    config = json.loads((folder / "config.json").read_text()) | change
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match=message):
        nexus.load(folder, device="cpu")


def test_settings_have_a_hash_of_their_own(folder):
    before = nexus.load(folder, device="cpu").info
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"config": {"steps": 6}}))
    after = nexus.load(folder, device="cpu").info
    assert after.weights_hash == before.weights_hash and after.config_hash != before.config_hash
