"""What is wrong with a folder's files is said by name."""

import pytest

from nexus.text.encoders import read_tokenizer
from nexus.text.files import check_folder, read_json


def test_json_and_pointers(tmp_path):
    (tmp_path / "a.json").write_text('{"b": [1]}')
    (tmp_path / "inner").mkdir()
    check_folder(tmp_path)
    assert read_json(tmp_path / "a.json") == {"b": [1]}
    (tmp_path / "merges.txt").write_text("version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(ValueError, match=r"merges\.txt: a pointer of Git LFS in its place"):
        check_folder(tmp_path)
    (tmp_path / "a.json").write_bytes(b"\xff\xfe")
    with pytest.raises(ValueError, match=r"a\.json: not valid JSON"):
        check_folder(tmp_path)


def test_a_folder_without_a_tokenizer(tmp_path):
    (tmp_path / "tokenizer_config.json").write_text("{}")
    with pytest.raises(ValueError, match="no tokenizer that can be read"):
        read_tokenizer(tmp_path)
