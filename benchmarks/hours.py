"""Memory and time of `nexus codec encode` and `decode` on long sounds: the peak should not grow with the length.

    python benchmarks/hours.py --model nexus/encodec-tiny --minutes 1 60

Each command runs in a process of its own, one thread; the peak is the whole process's, of which PyTorch is most.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import wave
from pathlib import Path

import numpy as np


def write_noise(path: Path, minutes: float, sample_rate: int) -> None:
    """Noise that swells and fades, in one channel, a second at a time."""
    rng = np.random.default_rng(0)
    swell = np.sin(np.linspace(0, np.pi, sample_rate))
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, sample_rate, 0, "NONE", "not compressed"))
        for _ in range(round(60 * minutes)):
            file.writeframes((5000 * swell * rng.standard_normal(sample_rate)).astype("<i2").tobytes())


def spent(*arguments: str | Path) -> str:
    """CPU seconds and peak of memory of a command."""
    threads = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "nexus", "codec", *map(str, arguments), "--json"]
    process = subprocess.Popen(command, env=os.environ | threads, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{' '.join(command)} failed")
    return f"{usage.ru_utime + usage.ru_stime:.0f} s, {usage.ru_maxrss / 1024:.0f} MB"


def measure(model: str, minutes: float, sample_rate: int, suffix: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        sound, codes, heard = (Path(folder, name) for name in ("in.wav", f"x{suffix}", "out.flac"))
        write_noise(sound, minutes, sample_rate)
        encoded = spent("encode", sound, "-o", codes, "-m", model)
        decoded = spent("decode", codes, "-o", heard, "-m", model)
        print(f"| {minutes:g} min | {encoded} | {decoded} |", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="nexus/encodec-tiny", help="a name, or a folder of weights")
    parser.add_argument("--minutes", type=float, nargs="+", default=[1, 60])
    parser.add_argument("--rate", type=int, default=24000, help="of the sound, Hz")
    parser.add_argument("--suffix", default=".nxc", help="of the file of codes: .nxc, .ecdc or .dac")
    arguments = parser.parse_args()
    print("| sound | encode | decode |\n|---|--:|--:|")
    for minutes in arguments.minutes:
        measure(arguments.model, minutes, arguments.rate, arguments.suffix)
