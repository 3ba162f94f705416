import json
import pickle
import sys
import types

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn.utils.parametrizations import weight_norm

from nexus.hub.source import Source
from nexus.hub.tensors import (
    drop,
    fold_weight_norm,
    join,
    load_strict,
    read_tensors,
    rename,
    swap_halves,
    tensor_names,
)


def test_reads_shards_and_names_a_missing_one(tmp_path):
    save_file({"a": torch.ones(2)}, tmp_path / "model-1.safetensors")
    save_file({"b": torch.zeros(3)}, tmp_path / "model-2.safetensors")
    index = {"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    state = read_tensors(Source("x", tmp_path))
    assert sorted(state) == ["a", "b"] and state["a"].sum() == 2
    (tmp_path / "model-2.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"model-2\.safetensors"):
        read_tensors(tmp_path)


def test_unwraps_training_checkpoints(tmp_path):
    torch.save({"best_state": {"model": {"w": torch.ones(1)}}, "step": 3}, tmp_path / "x.pt")
    assert list(read_tensors(tmp_path / "x.pt")) == ["w"]


class Exploit:
    def __reduce__(self):
        return (print, ("executed",))


def test_refuses_a_pickle_that_wants_to_execute_code(tmp_path, capsys):
    path = tmp_path / "pytorch_model.bin"
    torch.save({"w": torch.ones(1), "evil": Exploit()}, path)
    with pytest.raises(ValueError, match=r"pytorch_model\.bin: refused.*could execute code"):
        read_tensors(tmp_path)
    path.write_bytes(pickle.dumps(Exploit(), protocol=2))
    with pytest.raises(ValueError, match=r"refused|damaged"):
        read_tensors(path)
    assert "executed" not in capsys.readouterr().out


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
def test_a_damaged_file_is_named(tmp_path, name):
    (tmp_path / name).write_bytes(b"not tensors at all")
    with pytest.raises(ValueError, match=name.replace(".", r"\.")):
        read_tensors(tmp_path)


def test_an_empty_folder_says_what_is_expected(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"model\.safetensors"):
        read_tensors(tmp_path)


def test_rename_refuses_collisions():
    state = {"a.x": torch.ones(1), "b.x": torch.ones(1)}
    assert sorted(rename(state, [(r"^a\.", "c.")])) == ["b.x", "c.x"]
    with pytest.raises(ValueError, match=r"'x'"):
        rename(state, [(r"^[ab]\.", "")])
    assert list(drop(state, r"^a\.")) == ["b.x"]


def test_load_strict_names_what_does_not_fit():
    module = nn.Linear(2, 3)
    good = {"weight": torch.full((3, 2), 2.0), "bias": torch.ones(3)}
    load_strict(module, good, "here")
    assert module.weight.eq(2).all()
    with pytest.raises(ValueError, match=r"here: .*1 missing: bias; 1 unexpected: extra"):
        load_strict(module, {"weight": good["weight"], "extra": torch.ones(1)}, "here")
    with pytest.raises(ValueError, match=r"weight is \[2, 2\], expected \[3, 2\]"):
        load_strict(module, {**good, "weight": torch.ones(2, 2)}, "here")


@pytest.mark.parametrize("spelling", ["old", "new"])
def test_weight_norm_folds_in_both_spellings(spelling):
    layer = weight_norm(nn.ConvTranspose1d(3, 2, 5))
    with torch.no_grad():
        layer.parametrizations.weight.original0.add_(0.5)
    state = {f"up.{name}": tensor for name, tensor in layer.state_dict().items()}
    if spelling == "old":
        state = {
            name.replace("parametrizations.weight.original0", "weight_g").replace(
                "parametrizations.weight.original1", "weight_v"
            ): tensor
            for name, tensor in state.items()
        }
    folded = fold_weight_norm(state)
    assert sorted(folded) == ["up.bias", "up.weight"]
    torch.testing.assert_close(folded["up.weight"], layer.weight.detach())
    # A size without its direction is left for `load_strict` to name.
    assert sorted(fold_weight_norm({"x.weight_g": torch.ones(1)})) == ["x.weight_g"]


def test_layers_are_joined_where_all_of_them_are_there():
    parts = {f"a.{name}.weight": torch.full((2, 3), float(i)) for i, name in enumerate(("q", "k", "v"))}
    state = join(parts | {"b.q.weight": torch.zeros(2, 3)}, ("q", "k", "v"), "qkv")
    assert set(state) == {"a.qkv.weight", "b.q.weight"}
    assert state["a.qkv.weight"][:, 0].tolist() == [0, 0, 1, 1, 2, 2]
    assert swap_halves(torch.arange(4)).tolist() == [2, 3, 0, 1]


def test_names_of_tensors_are_read_without_them(tmp_path):
    save_file({"a": torch.zeros(1), "b": torch.zeros(2)}, tmp_path / "x.safetensors")
    torch.save({"state_dict": {"c": torch.zeros(1)}}, tmp_path / "x.pt")
    (tmp_path / "bad.safetensors").write_bytes(b"nothing")
    assert tensor_names(tmp_path / "x.safetensors") == {"a", "b"} and tensor_names(tmp_path / "x.pt") == {"c"}
    assert tensor_names(tmp_path / "bad.safetensors") == set() == tensor_names(tmp_path / "x.txt")


def test_what_lightning_saves_beside_its_tensors_is_read(tmp_path, monkeypatch):
    """Stable Diffusion's first checkpoints: callbacks' states, under the classes of the callbacks."""
    name = "pytorch_lightning.callbacks.model_checkpoint"
    for parent in ("pytorch_lightning", "pytorch_lightning.callbacks", name):
        monkeypatch.setitem(sys.modules, parent, types.ModuleType(parent))
    callback = type("ModelCheckpoint", (), {"__module__": name})
    sys.modules[name].ModelCheckpoint = callback  # type: ignore[attr-defined]
    torch.save({"state_dict": {"a": torch.ones(2)}, "callbacks": {callback: {"best": 1.0}}}, tmp_path / "x.ckpt")
    monkeypatch.undo()
    assert read_tensors(tmp_path / "x.ckpt").keys() == {"a"}


def test_nan_is_refused_with_its_name():
    module = nn.Linear(2, 1)
    state = module.state_dict() | {"weight": torch.tensor([[1.0, float("nan")]])}
    with pytest.raises(ValueError, match="there: weight holds NaN"):
        load_strict(module, state, "there")


def test_a_pointer_in_the_place_of_weights_is_told(tmp_path):
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 12\n"
    (tmp_path / "model.safetensors").write_text(pointer)
    with pytest.raises(ValueError, match="a pointer of Git LFS in its place: fetch it by `git lfs pull`"):
        read_tensors(tmp_path)


def test_nan_in_8_bits_is_found():
    layer = nn.Linear(1, 2, bias=False)
    broken = torch.tensor([[1.0], [torch.nan]]).to(torch.float8_e4m3fn)
    with pytest.raises(ValueError, match="weight holds NaN"):
        load_strict(layer, {"weight": broken}, "here")
    load_strict(layer, {"weight": broken[:1].expand(2, 1)}, "here")
    assert layer.weight.tolist() == [[1.0], [1.0]]
