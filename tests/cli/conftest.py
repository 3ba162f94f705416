"""Stub models behind `nexus.load`, so that the commands are tested without weights; servers of listening tests."""

import itertools
import threading
from types import SimpleNamespace

import numpy as np
import pytest

import nexus
from nexus.cli.main import main
from nexus.cli.rating_server import RatingServer
from nexus.hub import load as hub
from nexus.media.audio import Audio
from nexus.media.image import Image
from nexus.media.video import Video
from nexus.metrics.rating import Test
from nexus.metrics.rating_set import read_set
from nexus.metrics.rating_store import RatingStore

RATE = 8000


class Stub:
    """Remembers its calls; noise by seed, so that equal seeds are equal files."""

    def __init__(self, name):
        self.calls = []
        self.info = SimpleNamespace(name=name, kind=type(self).__name__, weights_hash="0123456789abcdef", licence="MIT")

    def noise(self, *shape, seed):
        return np.random.default_rng(seed).uniform(-0.5, 0.5, shape).astype(np.float32)

    def work(self, progress, **call):
        self.calls.append(call)
        for done in range(1, 5):
            if progress is not None:
                progress(done, 4)


class F5TTS(Stub):
    def generate(self, prompt, *, voice=None, voice_text=None, accent=None, speed=1.0, seed=None, progress=None):
        self.work(progress, prompt=prompt, voice=voice, voice_text=voice_text, accent=accent, speed=speed, seed=seed)
        return Audio(self.noise(RATE, seed=seed), RATE)

    def stream(self, prompt, *, voice=None, speed=1.0, seed=None):
        whole = self.generate(prompt, voice=voice, speed=speed, seed=seed)
        yield whole.cut(0, 3000)
        yield whole.cut(3000)


class MusicGen(Stub):
    def generate(self, prompt, **settings):
        duration = settings["duration"]
        if duration > 30:
            raise ValueError(f"duration must be over 0 and at most 30 s, got {duration:g}")
        if "melody" in settings and not settings["melody"].length:
            raise ValueError("the melody is empty")
        self.work(settings.pop("progress"), prompt=prompt, **settings)
        return Audio(self.noise(round(duration * RATE), seed=settings["seed"]), RATE)


class CogVideoX(Stub):
    config = SimpleNamespace(fps=8)

    def generate(self, prompt, *, frames=9, size=(32, 48), steps=20, cache=0.0, seed=None, progress=None):
        self.work(progress, prompt=prompt, frames=frames, size=size, steps=steps, cache=cache, seed=seed)
        return Video(np.full((frames, *size, 3), seed % 200, np.uint8), 8)


class PixArt(Stub):
    def generate(
        self, prompt, *, negative_prompt="", height=16, width=24, steps=20, guidance_scale=3.0, solver="euler",
        cache=0.0, adapters=None, seed=None, progress=None,
    ):  # fmt: skip
        given = {"adapters": adapters} if adapters else {}
        given |= {"negative_prompt": negative_prompt, "steps": steps, "guidance_scale": guidance_scale}
        self.work(progress, prompt=prompt, height=height, width=width, solver=solver, cache=cache, seed=seed, **given)
        return Image(np.full((height, width, 3), seed % 200, np.uint8))


class DiT(Stub):
    def generate(self, prompt, *, height=16, width=24, seed=None, progress=None):
        self.work(progress, prompt=prompt)
        return Image(np.zeros((height, width, 3), np.uint8))


KINDS = {"image": PixArt, "plain": DiT, "f5tts": F5TTS, "musicgen": MusicGen, "sound": MusicGen, "cogvideox": CogVideoX}


@pytest.fixture
def models(monkeypatch):
    """The stubs by name, made as they are loaded."""
    made, real_load, real_kind_of = {}, nexus.load, hub.kind_of

    def stub(name):
        return KINDS.get(name.removeprefix("nexus/").partition("-")[0])

    def load(name, *, device="auto", dtype="auto"):
        return made.setdefault(name, stub(name)(name)) if stub(name) else real_load(name, device=device)

    def kind_of(name):
        return stub(name).__name__ if stub(name) else real_kind_of(name)

    monkeypatch.setitem(vars(nexus), "load", load)
    monkeypatch.setattr(hub, "kind_of", kind_of)
    return made


@pytest.fixture
def run(models, capsys, monkeypatch, tmp_path):
    """Runs a command line in a folder of its own; (exit code, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("NEXUS_DEBUG", raising=False)

    def call(*arguments):
        code = main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        return code, out, err

    return call


@pytest.fixture
def voice(tmp_path):
    """A recording of `seconds`, or of given samples."""

    def make(seconds=3.0, samples=None):
        if samples is None:
            samples = np.random.default_rng(0).uniform(-0.3, 0.3, round(seconds * RATE))
        path = tmp_path / "voice.wav"
        Audio(np.asarray(samples, np.float32), RATE).save(path)
        return path

    return make


@pytest.fixture
def rated(tmp_path):
    """A folder of two short tones by each of three systems."""
    systems, items = ("first-system", "second-system", "natural"), ("item-one.wav", "item-two.wav")
    for i, (system, item) in enumerate(itertools.product(systems, items)):
        place = tmp_path / "set" / system
        place.mkdir(parents=True, exist_ok=True)
        tone = 0.2 * np.sin(2 * np.pi * (300 + 40 * i) * np.arange(RATE // 10) / RATE)
        Audio(tone.astype(np.float32), RATE).save(place / item)
    return tmp_path / "set"


@pytest.fixture
def serve(rated):
    """Starts a server on a free port; as many as a test wants, one after the other."""
    started = []

    def start(kind="mos"):
        media, store = read_set(rated), RatingStore(rated / "ratings.sqlite")
        reference = "natural" if kind == "mushra" else None
        test = Test(
            kind=kind, systems=media.systems, items=media.items, reference=reference, question="How <good>?", seed=0
        )
        server = RatingServer(0, test, media, store)
        store.begin(test, media.digests)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        started.append((server, thread))
        return server

    yield start
    for server, thread in started:
        server.shutdown()
        thread.join()
        server.server_close()
