"""The real command in a process of its own: start-up, exit codes, Ctrl-C."""

import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

TOY = Path(__file__).parent.parent / "training" / "toy.py"
HEARS_CTRL_C = {"preexec_fn": lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)}  # a shell's background job does not
HEAVY = {"torch", "numpy", "transformers", "av", "accelerate", "huggingface_hub"}


STUB = """
import sys, time
from types import SimpleNamespace
import numpy as np
import nexus
from nexus.media.audio import Audio

class F5TTS:
    info = SimpleNamespace(name="stub", weights_hash="0", licence="MIT")

    def generate(self, prompt, *, speed, seed, progress):
        return Audio(np.zeros(24000, np.float32), 24000)

    def stream(self, prompt, *, speed, seed):
        while True:
            yield Audio(np.zeros(240, np.float32), 24000)
            time.sleep(0.01)

nexus.load = lambda *args, **settings: F5TTS()
from nexus.cli.main import run
run()
"""


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
        [sys.executable, "-m", "nexus", *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **HEARS_CTRL_C,
    )
    assert process.stderr is not None
    assert process.stderr.readline().startswith("step 10/")
    process.send_signal(signal.SIGINT)
    began = time.monotonic()
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130 and out == "" and "Traceback" not in err
    assert "the same command goes on from there" in err and time.monotonic() - began < 20
    assert [path.name[:5] for path in (tmp_path / "run" / "checkpoints").iterdir()] == ["step-"]


def test_a_disk_that_fills_up_leaves_nothing(tmp_path):
    command = [sys.executable, "-B", "-c", STUB, "say", "hi", "-o", str(tmp_path / "a.wav")]
    limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))  # noqa: E731
    result = subprocess.run(command, capture_output=True, text=True, preexec_fn=limit)
    assert result.returncode == 1 and result.stdout == ""
    assert result.stderr == f"nexus: {tmp_path / 'a.wav'}: file too large\n"
    assert not list(tmp_path.iterdir())


def test_ctrl_c_stops_and_leaves_nothing(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-c", STUB, "say", "hi", "--stream", "-o", str(tmp_path / "a.wav")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        **HEARS_CTRL_C,
    )
    assert process.stdout is not None and process.stdout.read(44)[:4] == b"RIFF"  # it is speaking now
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130 and b"Traceback" not in err
    assert not list(tmp_path.iterdir())


def test_a_reader_that_goes_away(tmp_path):
    command = [sys.executable, "-c", STUB, "say", "hi", "--stream"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None and process.stderr is not None
    process.stdout.read(44)
    process.stdout.close()
    err = process.stderr.read()
    process.stderr.close()
    assert process.wait(timeout=30) == 1 and b"Traceback" not in err
