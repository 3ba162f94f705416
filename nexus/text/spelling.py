"""Letter-to-sound rules for English words that no dictionary has, so that a made-up name is spoken and not lost.

After the idea of Elovitz et al. (1976), far fewer rules; phones are misaki's, one character each.
"""

import re

# Tried in this order at each place; `>` and `<` assertions keep their letters for the next rule.
_RULES = (
    (r"tion", "ʃən"), (r"sion", "ʒən"), (r"ture(?=$|s)", "ʧəɹ"), (r"eigh", "A"), (r"ough", "O"), (r"augh", "ɔ"),
    (r"igh", "I"), (r"(?<!.)kn", "n"), (r"(?<!.)wr", "ɹ"), (r"(?<!.)ps", "s"), (r"(?<!.)x", "z"), (r"(?<!.)y", "j"),
    (r"tch", "ʧ"), (r"sch", "sk"), (r"dge?(?=$|[aeiou])", "ʤ"), (r"ch", "ʧ"), (r"sh", "ʃ"), (r"th", "θ"), (r"ph", "f"),
    (r"wh", "w"), (r"ck", "k"), (r"ng(?=$|s$)", "ŋ"), (r"n(?=k|x|c[^eiy]|q)", "ŋ"), (r"qu", "kw"), (r"gh", "ɡ"),
    (r"ee", "i"), (r"ea", "i"), (r"oo", "u"), (r"oi|oy", "Y"), (r"ou", "W"), (r"ow(?=$)", "O"), (r"ow", "W"),
    (r"au|aw", "ɔ"), (r"ai|ay|ei|ey", "A"), (r"ie", "i"), (r"oa", "O"), (r"ew|ue(?=$)", "u"),
    (r"a(?=[^aeiouywx]e(?:$|s$|d$))", "A"), (r"e(?=[^aeiouywx]e(?:$|s$|d$))", "i"),
    (r"i(?=[^aeiouywx]e(?:$|s$|d$))", "I"), (r"o(?=[^aeiouywx]e(?:$|s$|d$))", "O"),
    (r"u(?=[^aeiouywx]e(?:$|s$|d$))", "u"), (r"y(?=[^aeiouywx]e(?:$|s$|d$))", "I"),
    (r"(?:er|or|ar)(?=$|s$)", "əɹ"), (r"ar(?![aeiou])", "ɑɹ"), (r"or(?![aeiou])", "ɔɹ"), (r"[eiu]r(?![aeiou])", "ɜɹ"),
    (r"(?<=[td])ed(?=$)", "ɪd"), (r"(?<=[kpsfx])ed(?=$)", "t"), (r"(?<=[^aeiou])ed(?=$)", "d"),
    (r"(?<=[bcdfgklpstz])le(?=$|s$)", "əl"), (r"(?<=.)e(?=$|s$)", ""), (r"(?<=.)y(?=$)", "i"),
    (r"a(?=$)", "ə"), (r"o(?=$)", "O"), (r"i(?=$)", "i"), (r"u(?=$)", "u"),
    (r"a", "æ"), (r"e", "ɛ"), (r"i|y", "ɪ"), (r"o", "ɑ"), (r"u", "ʌ"),
    (r"cc?(?=[eiy])", "s"), (r"gg", "ɡ"), (r"g(?=[eiy])", "ʤ"), (r"([bcdfgklmnprstvz])(?=\1)", ""),
    (r"c", "k"), (r"g", "ɡ"), (r"j", "ʤ"), (r"q", "k"), (r"r", "ɹ"), (r"x", "ks"),
)  # fmt: skip
_COMPILED = tuple((re.compile(pattern), phones) for pattern, phones in _RULES)
_VOWELS = "AIOQWYaiuæɑɒɔəɛɜɪʊʌ"
_BRITISH = (("ɜɹ", "ɜː"), ("ɑɹ", "ɑː"), ("ɔɹ", "ɔː"), ("əɹ", "ə"), ("ɑ(?!ː)", "ɒ"), ("O", "Q"), ("([iu])(?=.)", r"\1ː"))


def sound_out(word: str, accent: str = "us") -> str:
    """Phonemes of a word of the letters a to z, stressed on its first vowel; empty where it has no vowel to speak."""
    word, place, phones = word.lower(), 0, ""
    while place < len(word):
        for pattern, sound in _COMPILED:
            if match := pattern.match(word, place):
                phones, place = phones + sound, match.end()
                break
        else:
            phones, place = phones + word[place], place + 1
    if accent == "gb":
        for pattern, sound in _BRITISH:
            phones = re.sub(pattern, sound, phones)
    first = next((index for index, phone in enumerate(phones) if phone in _VOWELS), None)
    return "" if first is None else f"{phones[:first]}ˈ{phones[first:]}"
