"""The front end in another process answers as it does in this one."""

import pytest

from nexus.text.beside import PhonemizerBeside
from nexus.text.phonemes import Phonemizer

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")


def test_answers_and_refusals_are_those_of_the_phonemizer():
    with PhonemizerBeside() as beside:
        here = Phonemizer()
        for text, accent in (("The keeper read the log; it was half past ten.", None), ("A bath, a glass.", "gb")):
            assert beside(text, accent) == here(text, accent)
        with pytest.raises(ValueError, match="nothing to speak"):
            beside("...")
        with pytest.raises(ValueError, match="accent must be one of"):
            beside("Hello.", "fr")
        assert beside("Line\nbreaks, and “quotes”.") == here("Line\nbreaks, and “quotes”.")
    with pytest.raises((RuntimeError, ValueError)):  # the process has ended
        beside("Hello.")
