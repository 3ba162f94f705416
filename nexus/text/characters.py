"""Characters by a vocabulary file, as official F5-TTS weights read English."""

from pathlib import Path

# Quotes as the training text of those weights had them.
_PLAIN = str.maketrans({";": ",", "“": '"', "”": '"', "‘": "'", "’": "'"})


class Characters:
    """Callable front end: text to ids, one a character; line *i* of the vocabulary is id *i*, unknown ones are 0."""

    def __init__(self, vocabulary: list[str]):
        self.vocabulary = vocabulary
        self._ids = {character: index for index, character in enumerate(vocabulary)}

    @classmethod
    def load(cls, path: Path) -> "Characters":
        lines = path.read_text(encoding="utf-8").split("\n")
        return cls(lines[:-1] if lines[-1] == "" else lines)

    @staticmethod
    def check(text: str, accent: str | None = None) -> None:
        """Refuses what can't be read; the accent is the voice's own, so none can be asked for.

        Raises:
            ValueError: Chinese characters, which those weights read as pinyin, or an accent.
        """
        if accent is not None:
            raise ValueError("these weights speak with the accent of the voice; leave accent out")
        chinese = [character for character in text if "\u3100" <= character <= "\u9fff"]
        if chinese:
            raise ValueError(f"{chinese[0]!r} must be written as pinyin with tone numbers, such as 'ni3 hao3'")

    def __call__(self, text: str, accent: str | None = None) -> list[int]:
        """Ids of the characters; raises ValueError as `check`."""
        self.check(text, accent)
        return [self._ids.get(character, 0) for character in text.translate(_PLAIN)]
