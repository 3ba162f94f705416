"""The front end: equal to the corpus's own phonemes, and nothing lost in silence."""

import gzip
import json
from pathlib import Path

import pytest

from nexus.text.phonemes import PAUSE, SYMBOLS, Phonemizer, symbol_ids
from nexus.text.spelling import sound_out

CORPUS = Path(__file__).parents[3] / "shared" / "data" / "speech" / "manifests"

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")


@pytest.fixture(scope="module")
def front_end():
    return Phonemizer()


@pytest.mark.skipif(not CORPUS.is_dir(), reason="the speech corpus is not here")
def test_equals_the_corpus(front_end):
    """A front end that differs from training is a defect that users hear."""
    rows = []
    for split in ("valid", "valid_unseen_voice"):
        with gzip.open(CORPUS / f"{split}.jsonl.gz", "rt") as lines:
            rows += [json.loads(line) for line in lines]
    same = [
        front_end.phonemes(row["text"], "gb" if row["phoneme_set"] == "misaki-gb" else "us") == row["phonemes"]
        for row in rows
    ]
    assert len(rows) > 100 and sum(same) / len(rows) >= 0.98


def test_accents_differ(front_end):
    assert front_end.phonemes("I can't dance in the water.") == "ˌI kˈænt dˈæns ɪn ðə wˈɔTəɹ."
    assert "ɑː" in front_end.phonemes("I can't dance in the water.", "gb")
    assert Phonemizer("gb").phonemes("water") == front_end.phonemes("water", "gb")


@pytest.mark.parametrize(
    ("text", "heard"),
    [
        ("Dr. Smith paid $3.50.", "dˈɑktəɹ smˈɪθ pˈAd θɹˈi dˈɑləɹz ænd fˈɪfti sˈɛnts."),
        ("at 10:30", "æt tˈɛn θˈɜɹTi"),
        ("naïve café", "nɑˈiv kæfˈA"),
        ("“Quoted” … (and) — dashed", "kwˈOTᵻd. ænd, dˈæʃt"),
        ("1 + 1 = 2", "wˈʌn plˈʌs wˈʌn ˈikwᵊlz tˈu"),
    ],
)
def test_numbers_signs_and_punctuation_are_spoken(front_end, text, heard):
    assert front_end.phonemes(text) == heard


def test_unknown_words_are_sounded_out_with_a_warning(front_end, caplog):
    assert front_end.phonemes("Nyarlathotep flibbled.") == "nˈɪɑɹlæθɑtɛp flˈɪbld."
    assert "Nyarlathotep" in caplog.text
    assert front_end.phonemes("a zxq") == "ɐ zˈi ˈɛks kjˈu"  # nothing to sound out: its letters


def test_text_cannot_set_phonemes(front_end):
    assert front_end.phonemes("[read](/bˈʊm/) it") == front_end.phonemes("read it")


def test_ids_have_pauses_around_and_stay_in_the_table(front_end):
    ids = front_end("Hello, world!")
    assert ids[0] == ids[-1] == SYMBOLS.index(PAUSE)
    assert "".join(SYMBOLS[i] for i in ids[1:-1]) == front_end.phonemes("Hello, world!")
    assert len(set(SYMBOLS)) == len(SYMBOLS)


@pytest.mark.parametrize(
    ("text", "message"),
    [("...", "nothing to speak"), ("😀", "nothing to speak"), ("日本語", "English"), ("٣ ships", "English")],
)
def test_what_has_no_sound_is_refused(front_end, text, message):
    with pytest.raises(ValueError, match=message):
        front_end(text)
    if message == "English":  # so that a long text is refused before its first sentence is spoken
        with pytest.raises(ValueError, match=message):
            front_end.check(text)


def test_wrong_accent_and_symbols_are_refused(front_end):
    for read in (front_end, front_end.check):
        with pytest.raises(ValueError, match="us, gb"):
            read("hello", "au")
    with pytest.raises(ValueError, match="no phoneme symbol"):
        symbol_ids("a9")


@pytest.mark.parametrize(
    ("word", "sounds"),
    [("make", "mˈAk"), ("shining", "ʃˈɪnɪŋ"), ("knight", "nˈIt"), ("phone", "fˈOn"), ("nation", "nˈæʃən"), ("brr", "")],
)
def test_letter_rules(word, sounds):
    assert sound_out(word) == sounds


def test_letter_rules_in_british():
    assert sound_out("gorder", "gb") == "ɡˈɔːdə"
