import random
import shutil

import numpy as np
import pytest
import torch

from nexus.training import checkpoint


def state(step):
    return {"step": step, "weights": {"w": torch.arange(1000.0) + step}}


def test_keeps_the_last_two(tmp_path):
    for step in (1, 2, 10, 9_999_999):
        checkpoint.save(tmp_path, step, state(step))
    assert [path.name for path in checkpoint.found(tmp_path)] == ["step-09999999", "step-00000010"]
    assert checkpoint.load_latest(tmp_path)["step"] == 9_999_999
    assert not list(tmp_path.glob(".*"))


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


DAMAGE = {
    "a flipped bit": lambda folder: flip(folder / "state.pt"),
    "half a file": lambda folder: (folder / "state.pt").write_bytes((folder / "state.pt").read_bytes()[:2000]),
    "no file": lambda folder: (folder / "state.pt").unlink(),
    "no manifest": lambda folder: (folder / "manifest.json").unlink(),
    "manifest of another kind": lambda folder: (folder / "manifest.json").write_text("[]"),
    "manifest cut short": lambda folder: (folder / "manifest.json").write_text('{"step": 2, "sha'),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE.keys())
def test_a_damaged_one_falls_back_to_the_one_before(tmp_path, caplog, damage):
    for step in (1, 2):
        checkpoint.save(tmp_path, step, state(step))
    damage(tmp_path / "step-00000002")
    assert checkpoint.load_latest(tmp_path)["step"] == 1
    assert "step-00000002 is damaged" in caplog.text


def test_none_is_whole(tmp_path):
    assert checkpoint.load_latest(tmp_path / "nothing") is None
    checkpoint.save(tmp_path, 1, state(1))
    flip(tmp_path / "step-00000001" / "state.pt")
    assert checkpoint.load_latest(tmp_path) is None


def test_a_failed_write_leaves_nothing_behind(tmp_path, monkeypatch):
    checkpoint.save(tmp_path, 1, state(1))

    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(OSError, match="No space"):
        checkpoint.save(tmp_path, 2, state(2))
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000001"]


def test_a_draft_of_a_killed_write_is_ignored(tmp_path):
    folder = checkpoint.save(tmp_path, 1, state(1))
    shutil.copytree(folder, tmp_path / ".draft-00000002")
    assert checkpoint.load_latest(tmp_path)["step"] == 1


def test_random_states_come_back():
    before = checkpoint.random_state()
    drawn = torch.rand(3), np.random.rand(3), random.random()
    checkpoint.restore_random_state(before)
    again = torch.rand(3), np.random.rand(3), random.random()
    assert torch.equal(drawn[0], again[0]) and np.array_equal(drawn[1], again[1]) and drawn[2] == again[2]
