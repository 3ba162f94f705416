"""The real command in a process of its own: start-up, exit codes, Ctrl-C."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

TOY = Path(__file__).parent.parent / "training" / "toy.py"
HEAVY = {"torch", "numpy", "transformers", "av", "accelerate", "huggingface_hub"}


def nexus(*arguments, **settings):
    return subprocess.run([sys.executable, "-m", "nexus", *arguments], capture_output=True, text=True, **settings)


def test_help_imports_nothing_heavy():
    code = f"import sys, nexus.cli.main as m; m.main(['--help']); print('heavy:', *sorted({HEAVY} & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stdout.splitlines()[-1] == "heavy:", result.stderr


def test_importing_nexus_is_light():
    code = f"import sys, nexus; print('heavy:', *sorted({HEAVY} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "heavy:\n"


def test_help_is_quick():
    def user_seconds():
        before = os.times().children_user
        assert nexus("--help").returncode == 0
        return os.times().children_user - before

    assert min(user_seconds() for _ in range(3)) < 0.5


def test_exit_code_and_sentence(tmp_path):
    result = nexus("say", "hi", "-o", str(tmp_path / "none" / "a.wav"))
    assert result.returncode == 2 and result.stdout == ""
    assert result.stderr.count("\n") == 1 and str(tmp_path) in result.stderr
    assert nexus("sing").returncode == 2


def test_interrupted_training_ends_with_130(tmp_path):
    command = ["train", str(TOY), "loop.steps=100000", "loop.save_every=100000", "-o", str(tmp_path / "run")]
    process = subprocess.Popen(
        [sys.executable, "-m", "nexus", *command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    assert process.stderr.readline().startswith("step 10/")
    process.send_signal(signal.SIGINT)
    began = time.monotonic()
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130 and out == "" and "Traceback" not in err
    assert "the same command goes on from there" in err and time.monotonic() - began < 20
    assert [path.name[:5] for path in (tmp_path / "run" / "checkpoints").iterdir()] == ["step-"]
