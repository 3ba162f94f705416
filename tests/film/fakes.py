"""Models that make simple things at once, write down what they made, and can kill their own process."""

import os
import signal
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from nexus.media.audio import Audio
from nexus.media.video import Video

BOARD = {
    "title": "Two friends",
    "size": [64, 48],
    "fps": 8,
    "cast": {"ann": {}, "bob": {"speed": 1.5}},
    "score": {"prompt": "calm piano, 120 bpm", "under": "1-2"},
    "scenes": [
        {"shot": "a boat", "say": [{"who": "ann", "line": "Good evening."}], "transition": "dissolve"},
        {
            "shot": "a cat",
            "duration": 2,
            "say": [{"who": "bob", "line": "Good morning to you."}, {"who": "ann", "line": "And to you."}],
            "sound": [{"prompt": "rain", "at": 0.5, "gain": -6}],
            "transition": "fade",
        },
        {"shot": "a tree", "duration": 1.5, "sound": [{"prompt": "wind"}]},
    ],
}  # 3 lines, 3 shots, 2 sounds, 1 score
ASSETS = 9


@dataclass
class Fake:
    """A model of one kind. `log` gets a line a call; the process dies in the middle of call number `die_at`."""

    kind: str
    log: Path
    die_at: int = 0
    licence: str = "Apache-2.0"

    def __post_init__(self):
        hashes = {"weights_hash": "0" * 16, "config_hash": "0" * 16}
        self.info = SimpleNamespace(name=f"fake/{self.kind}", **hashes, licence=self.licence)
        self.config = SimpleNamespace(max_duration=3.0)

    def generate(self, prompt, *, seed, progress, duration=None, **settings):
        with self.log.open("a") as file:
            file.write(f"{self.kind}: {prompt}\n")
        progress(1, 2)
        if self.die_at and len(self.log.read_text().splitlines()) == self.die_at:
            os.kill(os.getpid(), signal.SIGKILL)
        progress(2, 2)
        rng = np.random.default_rng(seed)
        if self.kind == "video":
            return Video(rng.integers(0, 256, (9, 16, 16, 3), dtype=np.uint8), 8)
        seconds = 0.05 * len(prompt) if self.kind == "speech" else duration
        return Audio(rng.uniform(-0.3, 0.3, (1, round(seconds * 24000))).astype(np.float32), 24000)


def fakes(log, **settings):
    return {kind: Fake(kind, Path(log), **settings) for kind in ("speech", "video", "sound", "music")}
