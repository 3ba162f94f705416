"""Phoneme symbols: one character a phone, as the misaki front end writes English."""

PAUSE = "‖"  # the silence before and after an utterance
# Both accents in one table, so that one network speaks both; punctuation, stress marks and spaces count as symbols.
CHARACTERS = " !,.:;?AIOQTWYabdfhijklmnpstuvwzæðŋɐɑɒɔəɛɜɡɪɹɾʃʊʌʒʔʤʧˈˌːθᵊᵻ—“”"
SYMBOLS = PAUSE + CHARACTERS
_IDS = {symbol: index for index, symbol in enumerate(SYMBOLS)}


def symbol_ids(phonemes: str) -> list[int]:
    """Ids of a phoneme string.

    Raises:
        ValueError: a character that is no symbol.
    """
    unknown = [character for character in phonemes if character not in _IDS]
    if unknown:
        raise ValueError(f"{unknown[0]!r} in {phonemes[:40]!r} is no phoneme symbol; they are {CHARACTERS!r}")
    return [_IDS[character] for character in phonemes]
