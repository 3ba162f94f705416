"""Tests run on one thread each (many small tensors), and never touch the network."""

import importlib
import os
import socket
import sys
import types
from pathlib import Path

import pytest
import torch

from nexus.data.storybook import sprites


def pytest_configure(config):
    torch.set_num_threads(1)


def pytest_runtest_setup(item):
    if item.get_closest_marker("emoji"):
        try:
            sprites.font_path()
        except FileNotFoundError as missing:
            pytest.skip(str(missing))


@pytest.fixture(autouse=True)
def seeded():
    """Networks with random weights are the same in each run: whether a test passes does not hang on luck."""
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    connect = socket.socket.connect

    def refuse(self, address):
        if self.family == socket.AF_UNIX or (
            isinstance(address, tuple) and address[0] in {"127.0.0.1", "localhost", "::1"}
        ):
            return connect(self, address)
        raise ConnectionError(f"a test tried to reach {address}")

    monkeypatch.setattr(socket.socket, "connect", refuse)


@pytest.fixture
def rng() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@pytest.fixture
def bigvgan(monkeypatch) -> types.SimpleNamespace:
    """The reference package's modules; matplotlib, which its training plots with, is stubbed."""
    pytest.importorskip("librosa")
    for name in ("matplotlib", "matplotlib.pylab"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    sys.modules["matplotlib"].use = lambda backend: None
    sys.modules["matplotlib"].pylab = sys.modules["matplotlib.pylab"]
    pytest.importorskip("bigvgan", exc_type=ImportError)
    from bigvgan import activations, bigvgan, env, meldataset
    from bigvgan.alias_free_activation.torch import act

    return types.SimpleNamespace(activations=activations, act=act, env=env, mel=meldataset, model=bigvgan)


@pytest.fixture
def hifigan_source(monkeypatch) -> types.SimpleNamespace:
    """The modules of a checkout of jik876/hifi-gan, and where it lies; matplotlib, which it plots with, is stubbed."""
    place = os.environ.get("NEXUS_HIFIGAN_SOURCE")
    if not place:
        pytest.skip("NEXUS_HIFIGAN_SOURCE names no checkout of jik876/hifi-gan")
    for name in ("matplotlib", "matplotlib.pylab"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    sys.modules["matplotlib"].use = lambda backend: None
    sys.modules["matplotlib"].pylab = sys.modules["matplotlib.pylab"]
    monkeypatch.syspath_prepend(place)
    modules = {}
    for name in ("env", "utils", "models"):
        monkeypatch.delitem(sys.modules, name, raising=False)
        modules[name] = importlib.import_module(name)
    for name in modules:  # so that other tests' modules of these names are found
        monkeypatch.delitem(sys.modules, name, raising=False)
    return types.SimpleNamespace(place=Path(place), **modules)
