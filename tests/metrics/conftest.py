import pytest


@pytest.fixture(autouse=True)
def judges(monkeypatch, tmp_path_factory):
    """The folder of judges' weights: empty, whatever this machine has."""
    folder = tmp_path_factory.mktemp("judges")
    monkeypatch.setenv("NEXUS_JUDGES", str(folder))
    return folder
