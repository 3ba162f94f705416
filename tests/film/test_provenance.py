from types import SimpleNamespace

import pytest

from nexus.film.provenance import film_licence, is_non_commercial


def _models(*licences):
    return [
        SimpleNamespace(name=f"m{i}", weights_hash="0", config_hash="0", licence=name)
        for i, name in enumerate(licences)
    ]


@pytest.mark.parametrize("licence", ["CC-BY-NC-4.0", "cc-by-nc-sa-4.0", "Non-Commercial", "research only"])
def test_licences_that_forbid_commerce(licence):
    assert is_non_commercial(licence)


@pytest.mark.parametrize("licence", ["MIT", "Apache-2.0", "CC-BY-4.0", "CC0-1.0", "unknown"])
def test_licences_that_do_not(licence):
    assert not is_non_commercial(licence)


def test_one_restricted_model_marks_the_film():
    assert film_licence(_models("MIT", "Apache-2.0"))["use"] == "commercial"
    assert film_licence(_models("MIT", "unknown"))["use"] == "unknown"
    marked = film_licence(_models("MIT", "unknown", "CC-BY-NC-4.0"))
    assert marked["use"] == "non-commercial"
    assert marked["non_commercial_models"] == ["m2"] and marked["unknown_models"] == ["m1"]
    assert marked["licences"] == ["CC-BY-NC-4.0", "MIT", "unknown"]
