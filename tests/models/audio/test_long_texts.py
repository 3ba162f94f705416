"""A paragraph and a page spoken by the small weights, as a recogniser and the judges of voices hear them."""

import re
from itertools import pairwise

import numpy as np
import pytest

import nexus
from nexus.media.audio import Audio
from nexus.metrics.judge import MissingJudge
from nexus.metrics.recogniser import Recogniser, error_rates, normalise
from nexus.metrics.speaker import SpeakerEncoder
from nexus.metrics.speaking_rate import spoken_seconds
from nexus.models.audio.speaking import block_levels, split_text

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning"),
]

PARAGRAPH = (
    "The lighthouse stood alone at the edge of the sea, and every evening the keeper climbed the narrow stairs. "
    "He carried a can of oil, a clean cloth, and a small book. Yes, he was old. When the lamp was burning, he sat "
    "down beside the window and wrote what he had seen that day: two fishing boats, a grey seal on the rocks, and "
    "far away, under the clouds, the smoke of a steamer."
)
PAGE = (
    f"{PARAGRAPH} "
    "Nobody came to visit him in winter. The path along the cliff was covered with ice, and the village lay an "
    "hour to the north. In the spring, however, the children walked out with bread and cheese, and he showed them "
    "how the great lens turned, and how a flame no larger than a hand could be seen from twenty miles away. One "
    "night in March a storm broke over the coast. The wind pulled at the door, the rain beat against the glass, "
    "and the waves rose so high that the spray ran down the windows. The keeper did not sleep. Towards morning he "
    "heard a bell, slow and faint, somewhere below the rocks. He took his coat, lit a lantern, and went down. "
    "There was a boat between the stones, turned on its side, and a girl held on to the mast. She was cold and "
    "frightened, but she was not hurt. He brought her up the stairs, gave her tea with honey, and asked for her "
    "name. She told him that her father had gone to look for help. An hour later there was a knock at the door. "
    "Years afterwards, when the lamp had become electric and nobody had to carry oil any more, the girl came back "
    "to the tower. She found the small book on the table, and on the last page, in careful letters, the date, the "
    "hour, and four words: the light was seen."
)


@pytest.fixture(scope="module")
def ears():
    try:
        return Recogniser(), SpeakerEncoder()
    except MissingJudge as missing:
        pytest.skip(str(missing))


def longest_slip(meant: str, heard: str) -> int:
    """The most words that are missing, or were added, in one place."""
    import jiwer

    chunks = jiwer.process_words(normalise(meant), normalise(heard)).alignments[0]
    slips = [
        max(chunk.ref_end_idx - chunk.ref_start_idx, chunk.hyp_end_idx - chunk.hyp_start_idx)
        for chunk in chunks
        if chunk.type in ("insert", "delete")
    ]
    return max(slips, default=0)


def level(audio: Audio) -> float:
    """Decibels over active speech."""
    levels = block_levels(audio)
    active = levels[levels > 0.05 * levels.max()]
    return 20 * float(np.log10(np.sqrt(np.mean(active**2))))


@pytest.mark.parametrize("text", [PARAGRAPH, PAGE], ids=["paragraph", "page"])
def test_nothing_is_lost_or_repeated_and_voice_loudness_and_pace_are_steady(text, ears):
    recogniser, speaker = ears
    model = nexus.load("nexus/f5tts-tiny")
    sentences = split_text(text, model.config.longest_piece)
    assert re.sub(r"\s+", "", "".join(sentences)) == re.sub(r"\s+", "", text)
    whole = model.generate(text, seed=0)
    parts = list(model.stream(text, seed=0))
    streamed = Audio.concatenate(parts)
    assert streamed.length == whole.length

    for how, sound in (("whole", whole), ("streamed", streamed)):
        heard = recogniser.transcribe(sound)
        rates = error_rates([text], [heard])
        print(
            f"{how}: {sound.seconds:.1f} s, WER {rates.wer:.3f}, CER {rates.cer:.3f}, slip {longest_slip(text, heard)}"
        )
        assert rates.wer < 0.12 and rates.cer < 0.06 and longest_slip(text, heard) <= 2

    frame = model.config.mel.hop_length
    places = np.cumsum([0, *(model.generate(s, seed=0).length for s in sentences)])
    assert abs(int(places[-1]) - whole.length) <= frame  # the sentences, one after another, and nothing between
    spoken = [whole.cut(int(a), int(b)) for a, b in pairwise(places)]
    levels = [level(one) for one in spoken]
    paces = [len(s) / spoken_seconds(one) for s, one in zip(sentences, spoken, strict=True) if len(s) > 30]
    alike = [speaker.similarity(one, whole) for one in spoken if one.seconds > 1.6]
    print(f"levels {min(levels):.1f} to {max(levels):.1f} dB, letters a second {min(paces):.1f} to {max(paces):.1f}, "
          f"similarity {min(alike):.2f} to {max(alike):.2f}")  # fmt: skip
    assert max(levels) - min(levels) < 2 and max(paces) / min(paces) < 1.6 and min(alike) > 0.75

    edges = np.cumsum([part.length for part in parts])[:2]  # where the first sentence was cut
    window = round(0.15 * streamed.rate)
    for edge in edges.tolist():
        inside = [streamed.cut(edge - window, edge), streamed.cut(edge, edge + window)]
        whole_inside = [whole.cut(edge - window, edge), whole.cut(edge, edge + window)]
        step, uncut = (level(pair[1]) - level(pair[0]) for pair in (inside, whole_inside))
        print(f"join at {edge / streamed.rate:.2f} s: step {step:+.1f} dB, uncut {uncut:+.1f} dB")
        assert abs(step - uncut) < 6
