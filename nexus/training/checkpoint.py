"""Checkpoints of a run: written whole or not at all, checked by digest when read, the last two kept."""

import hashlib
import json
import logging
import os
import random
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch

log = logging.getLogger(__name__)

KEEP = 2


def save(root: Path, step: int, state: dict[str, Any]) -> Path:
    """Writes `root/step-00000120` (a draft folder renamed when complete) and deletes all but the last `KEEP`.

    `state` holds tensors and plain Python values only, so that it is read back with `weights_only=True`.
    """
    root.mkdir(parents=True, exist_ok=True)
    final, draft = root / f"step-{step:08d}", root / f".draft-{step:08d}"
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir()
    try:
        with open(draft / "state.pt", "wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
        manifest = {"step": step, "sha256": _digest(draft / "state.pt")}
        (draft / "manifest.json").write_text(json.dumps(manifest) + "\n")
        shutil.rmtree(final, ignore_errors=True)
        os.rename(draft, final)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise
    for old in found(root)[KEEP:]:
        shutil.rmtree(old)
    return final


def found(root: Path) -> list[Path]:
    """The complete checkpoints under `root`, newest first."""
    return sorted((path for path in root.glob("step-*") if path.is_dir()), reverse=True)


def clear(root: Path) -> None:
    """Deletes every checkpoint: a fresh run must not be overtaken by an old one."""
    shutil.rmtree(root, ignore_errors=True)


def load_latest(root: Path) -> dict[str, Any] | None:
    """The newest checkpoint that is whole, or None; a damaged one is passed over with a warning."""
    for folder in found(root):
        try:
            manifest = json.loads((folder / "manifest.json").read_text())
            if _digest(folder / "state.pt") != manifest["sha256"]:
                raise ValueError("its contents are not what was written")
            return torch.load(folder / "state.pt", map_location="cpu", weights_only=True)
        except (OSError, ValueError, KeyError, TypeError, RuntimeError, EOFError) as error:
            log.warning("checkpoint %s is damaged (%s); trying the one before it", folder, error)
    return None


def random_state() -> dict[str, Any]:
    """The global generators' states: dropout and third-party code draw from them."""
    kind, keys, *rest = np.random.get_state()
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "numpy": (kind, keys.tolist(), *rest),  # type: ignore[union-attr]
        "python": random.getstate(),
    }


def restore_random_state(state: dict[str, Any]) -> None:
    torch.set_rng_state(state["torch"])
    if len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state["cuda"])
    np.random.set_state(state["numpy"])
    random.setstate(state["python"])


def _digest(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
