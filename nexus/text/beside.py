"""The front end in a process of its own: its dictionaries are read while the model is loaded, on another core."""

import json
import signal
import subprocess
import sys

from nexus.text.phonemes import ACCENTS, Phonemizer


class PhonemizerBeside:
    """Text to symbol ids as `Phonemizer` gives them; a context manager, whose end is the process's end."""

    breaks, check = Phonemizer.breaks, staticmethod(Phonemizer.check)

    def __init__(self):
        command = [sys.executable, "-c", "from nexus.text.beside import answer_lines; answer_lines()"]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def __enter__(self) -> "PhonemizerBeside":
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()  # closes the pipes and waits

    def __call__(self, text: str, accent: str | None = None) -> list[int]:
        """Raises ValueError as `Phonemizer` does, RuntimeError where the process has ended."""
        asked, told = self._process.stdin, self._process.stdout
        assert asked is not None and told is not None
        try:
            asked.write(json.dumps([text, accent]).encode() + b"\n")
            asked.flush()
            line = told.readline()
        except BrokenPipeError:
            line = b""
        if not line:
            raise RuntimeError("the front end's process has ended; leave --stream out")
        answer = json.loads(line)
        if "wrong" in answer:
            raise ValueError(answer["wrong"])
        return answer["ids"]


def answer_lines() -> None:
    """What the other process does: reads its dictionaries, then answers line by line until its input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the one who asks, and ends this one by its input
    out, sys.stdout = sys.stdout, sys.stderr  # whatever a package prints is no answer
    sys.modules["torch"] = None  # type: ignore[assignment]  # spaCy would load it, and does not need it
    front_end = Phonemizer()
    front_end("A word.", ACCENTS[0])
    for line in sys.stdin:
        try:
            answer = {"ids": front_end(*json.loads(line))}
        except ValueError as wrong:
            answer = {"wrong": str(wrong)}
        print(json.dumps(answer), file=out, flush=True)
