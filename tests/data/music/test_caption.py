import re

from nexus.data.music import caption, compose
from nexus.data.music.styles import PROGRAMS


def test_captions_vary_and_say_only_what_is_there():
    named = {"tempo": 0, "key": 0}
    for seed in range(60):
        piece = compose(seed, seconds=2)
        text = caption(piece, seed).lower()
        spoken = text.replace(" flat ", "b ").replace(" sharp ", "# ")
        numbers = [int(n) for n in re.findall(r"\b\d{2,3}\b", text)]
        assert set(numbers) <= {piece.tempo}
        keys = re.findall(r"\b([a-g][#b]? (?:major|minor))\b", spoken)
        assert set(keys) <= {piece.key.name.lower()}
        named["tempo"] += bool(numbers)
        named["key"] += bool(keys)
        assert piece.style in text
        rest = text.replace(piece.style, "").replace("snare drum", "")
        for instrument in sorted(PROGRAMS, key=len, reverse=True):
            if re.search(rf"\b{instrument}\b", rest):
                assert instrument in piece.instruments, (text, piece.instruments)
                rest = rest.replace(instrument, "")
        assert "slow," not in text or piece.tempo < 80
    assert min(named.values()) > 42
    assert len({caption(piece, i) for i in range(50)}) > 35
    assert caption(compose(1), 7) == caption(compose(1), 7)
