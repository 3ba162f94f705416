"""The original EnCodec package, where it is installed."""

import sys
import types

import pytest


@pytest.fixture
def encodec_package(monkeypatch):
    """`encodec` with torchaudio stubbed: it has no CPU wheel here, and what is compared does not use it."""
    pytest.importorskip("transformers")  # looks for torchaudio too, and must not find the stub
    monkeypatch.setitem(sys.modules, "torchaudio", types.ModuleType("torchaudio"))
    return pytest.importorskip("encodec")
