import importlib.util
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def fake():
    """The module beside this file."""
    spec = importlib.util.spec_from_file_location("film_fakes", Path(__file__).with_name("fakes.py"))
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    import sys

    sys.modules["film_fakes"] = module
    spec.loader.exec_module(module)
    return module
