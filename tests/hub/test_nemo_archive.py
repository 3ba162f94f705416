"""Hostile `.nemo` archives: refused with a sentence, in bounded memory, and no code of theirs runs."""

import io
import os
import pickle
import tarfile
import tracemalloc
import zipfile

import pytest
import torch
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nexus.hub.nemo_archive import CONFIG, MOST_MEMBERS, WEIGHTS, read_config, read_weights


def packed(*members: tuple[str | tarfile.TarInfo, bytes], mode: str = "w:") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as archive:
        for name, content in members:
            member = name if isinstance(name, tarfile.TarInfo) else tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def saved(content: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


TENSORS = {"a.weight": torch.arange(6.0).view(2, 3), "b": torch.ones(4)}
GOOD = packed((CONFIG, b"sample_rate: 44100\n"), (WEIGHTS, saved(TENSORS)))


@pytest.fixture
def place(tmp_path):
    def put(content: bytes):
        (tmp_path / "x.nemo").write_bytes(content)
        return tmp_path / "x.nemo"

    return put


@pytest.mark.parametrize("mode", ["w:", "w:gz", "w:xz"])
@pytest.mark.parametrize("prefix", ["", "./"])
def test_good_archives_are_read(place, mode, prefix):
    path = place(packed((prefix + CONFIG, b"sample_rate: 44100"), (prefix + WEIGHTS, saved(TENSORS)), mode=mode))
    assert read_config(path) == {"sample_rate": 44100}
    torch.testing.assert_close(read_weights(path), TENSORS)


def link(name: str, kind: bytes) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, "/etc/passwd"
    return member


@pytest.mark.parametrize(
    ("member", "message"),
    [
        ("../../outside", "path out of the archive"),
        ("/etc/cron.d/x", "path out of the archive"),
        ("a\\..\\b", "path out of the archive"),
        (link(CONFIG, tarfile.SYMTYPE), "a link or a device"),
        (link("other", tarfile.LNKTYPE), "a link or a device"),
        (link("pipe", tarfile.FIFOTYPE), "a link or a device"),
        (CONFIG, f"{CONFIG} 2 times"),
    ],
)
def test_what_archives_must_not_hold(place, member, message):
    path = place(packed((CONFIG, b"a: 1"), (member, b""), (WEIGHTS, saved(TENSORS))))
    with pytest.raises(ValueError, match=message):
        read_config(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not a readable"),
        (b"PK\x03\x04 not a tar", "not a readable"),
        (GOOD[:700], "not a readable|0 times"),
        (packed((WEIGHTS, b"")), f"{CONFIG} 0 times"),
        (packed(*[(f"{i}", b"") for i in range(MOST_MEMBERS + 1)]), "more than 1000 files"),
        (packed((CONFIG, b"a" * (1 << 21))), "more than the 1048576 allowed"),
        (packed((CONFIG, b"a: [")), "not plain YAML"),
        (packed((CONFIG, b"\xff\xfe\x00")), "not plain YAML"),
        (packed((CONFIG, b"- 1")), "list, expected a mapping"),
        (packed((CONFIG, b"a: !!python/object/apply:os.system [touch /tmp/owned]")), "not plain YAML"),
        (packed((CONFIG, b"a: &x [1]\nb: [*x, *x]")), "repeats itself"),
        (packed((CONFIG, b"[" * 200 + b"]" * 200)), "nested more than 50 deep"),
        (packed((CONFIG, b"a: " + b"9" * 100_000)), "not plain YAML"),
    ],
)
def test_damaged_and_hostile_configurations(place, content, message):
    with pytest.raises(ValueError, match=message):
        read_config(place(content))


class Exploit:
    def __init__(self, mark: str):
        self.mark = mark

    def __reduce__(self):
        return os.mkdir, (self.mark,)


def zipped(records: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, content in records.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def test_pickles_are_not_executed(place, tmp_path):
    mark = tmp_path / "owned"
    path = place(packed((WEIGHTS, saved({"a": Exploit(str(mark))}))))
    with pytest.raises(ValueError, match="could execute code"):
        read_weights(path)
    with pytest.raises(ValueError, match="no torch file"):
        read_weights(place(packed((WEIGHTS, pickle.dumps(Exploit(str(mark)))))))
    assert not mark.exists()


def test_claims_of_size_are_held_against_the_file(place):
    bomb = zipped({"archive/data.pkl": bytes(1 << 24)}, zipfile.ZIP_DEFLATED)
    assert len(bomb) < 1 << 16
    with pytest.raises(ValueError, match="compressed, which torch does not do"):
        read_weights(place(packed((WEIGHTS, bomb))))
    wide = torch.zeros(1).expand(1 << 20, 1 << 20)  # one number that says it is a trillion
    with pytest.raises(ValueError, match="claim more than its own"):
        read_weights(place(packed((WEIGHTS, saved({"a": wide})))))
    with pytest.raises(ValueError, match="not plain"):
        read_weights(place(packed((WEIGHTS, saved({"a": torch.zeros(1 << 20, device="meta")})))))
    shorter = packed((WEIGHTS, saved(TENSORS)))[:2000]  # the header says more than is there
    with pytest.raises(ValueError, match=r"not a readable|no torch file"):
        read_weights(place(shorter))


def test_gzip_bombs_take_no_memory(place):
    path = place(packed((CONFIG, bytes(1 << 24)), mode="w:gz"))
    assert path.stat().st_size < 1 << 16
    tracemalloc.start()
    with pytest.raises(ValueError, match="more than the 1048576 allowed"):
        read_config(path)
    assert tracemalloc.get_traced_memory()[1] < 1 << 22
    tracemalloc.stop()


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damaged_bytes_give_the_tensors_or_a_sentence(place, data):
    content = bytearray(GOOD)
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = place(bytes(content[: data.draw(st.integers(0, len(content)))]))
    for read in (read_config, read_weights):
        try:
            assert isinstance(read(path), dict)
        except ValueError as error:
            assert str(path) in str(error)


def test_a_setting_without_a_name_is_refused(place):
    with pytest.raises(ValueError, match="no word names, such as None"):
        read_config(place(packed((CONFIG, b"?"))))


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.one_of(st.binary(max_size=200), st.text(max_size=200).map(str.encode)))
def test_any_configuration_is_a_mapping_or_refused(place, text):
    path = place(packed((CONFIG, text)))
    try:
        assert isinstance(read_config(path), dict)
    except ValueError as error:
        assert str(path) in str(error)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    values=st.recursive(
        st.integers() | st.text() | st.none() | st.floats(allow_nan=False),
        lambda inner: (
            st.lists(inner)
            | st.dictionaries(
                st.sampled_from(
                    [
                        "sample_rate",
                        "audio_encoder",
                        "audio_decoder",
                        "vector_quantizer",
                        "down_sample_rates",
                        "num_levels_per_group",
                        "base_channels",
                    ]
                ),
                inner,
            )
        ),
        max_leaves=8,
    )
)
def test_any_values_give_a_config_or_a_sentence(values):
    from nexus.hub.nemo import config_from_yaml

    if not isinstance(values, dict):
        return
    yaml.safe_dump(values)
    with pytest.raises(ValueError):
        config_from_yaml(values, "x")
