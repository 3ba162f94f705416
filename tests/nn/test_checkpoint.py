import json
from dataclasses import dataclass

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from nexus.nn.checkpoint import config_from_dict, save_folder


@dataclass(frozen=True, kw_only=True)
class Inner:
    width: int = 2


@dataclass(frozen=True, kw_only=True)
class Config:
    ratios: tuple[int, ...] = (1, 2)
    inner: Inner = Inner()
    voice: Inner | None = None
    pairs: tuple[tuple[int, int], ...] = ()


def test_configs_survive_json(tmp_path):
    config = Config(ratios=(3, 4), inner=Inner(width=5), voice=Inner(width=6), pairs=((1, 2), (3, 4)))
    save_folder(nn.Linear(1, 1), tmp_path, kind="toy", config=config)
    stored = json.loads((tmp_path / "config.json").read_text())
    assert config_from_dict(Config, stored["config"]) == config


def test_unknown_keys_are_refused_with_the_known_ones():
    with pytest.raises(ValueError, match=r"config\.inner: unknown key 'widht' for Inner; it has width"):
        config_from_dict(Config, {"inner": {"widht": 3}})


def test_parts_stay_in_their_own_folders(tmp_path):
    model = nn.ModuleDict({"net": nn.Linear(2, 2), "codec": nn.Linear(3, 3)})
    save_folder(model, tmp_path, kind="toy", config=Inner(), parts={"codec": "nexus/other"}, dtype=torch.float16)
    state = load_file(tmp_path / "model.safetensors")
    assert sorted(state) == ["net.bias", "net.weight"] and state["net.weight"].dtype == torch.float16
    assert not list(tmp_path.glob(".saving-*"))
