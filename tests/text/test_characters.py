"""The character front end of official weights."""

import pytest

from nexus.text.characters import Characters


def test_ids_are_lines_of_the_vocabulary(tmp_path):
    path = tmp_path / "vocab.txt"
    path.write_text(" \na\nb\n'\n,\nni3\n")
    characters = Characters.load(path)
    assert characters.vocabulary == [" ", "a", "b", "'", ",", "ni3"]
    assert characters("a b") == [1, 0, 2]
    assert characters("b;a’z") == [2, 4, 1, 3, 0]  # plain quotes, comma for semicolon, 0 for the unknown


def test_what_it_cannot_read_is_refused():
    with pytest.raises(ValueError, match="pinyin"):
        Characters(["a"])("你好")
    with pytest.raises(ValueError, match="accent"):
        Characters(["a"])("a", "gb")
