"""The pages of a listening or viewing test. They name no system and no file: clips are numbers, sides are letters."""

from pathlib import Path
from xml.etree.ElementTree import Element

from nexus.metrics.markup import element, page
from nexus.metrics.rating import BANDS, GRADES, Kind, Test, Trial
from nexus.metrics.rating_set import SUFFIXES

SCRIPT = Path(__file__).with_name("rating.js").read_text(encoding="utf-8")
LONGEST_NAME = 60  # characters
TITLES: dict[Kind, str] = {"mos": "Grade each clip", "mushra": "Grade them side by side", "ab": "Choose one of two"}


def welcome(test: Test, said: str = "") -> bytes:
    """Asks who rates; `said` tells what was wrong with the last answer."""
    name = element(
        "input", type="text", name="name", maxlength=LONGEST_NAME, required="", autocomplete="off", id="name"
    )
    return page(
        TITLES[test.kind],
        element("h1", TITLES[test.kind]),
        element("p", test.question),
        element(
            "p",
            "Use headphones where there is sound, and take your time: you can close the page whenever you like "
            "and go on later under the same name. Some clips are there to check attention.",
        ),
        element("p", said, class_="bad", role="alert") if said else None,
        element(
            "form",
            element("p", element("label", "Your name, or one you make up", for_="name")),
            element("p", name, " ", element("button", "Begin or go on", type="submit")),
            method="post",
            action="/rater",
        ),
    )


def finished(rater: str, n_trials: int) -> bytes:
    return page(
        "Thank you",
        element("h1", "Thank you"),
        element("p", f"{rater}, all {n_trials} pages are answered and kept. You can close this page."),
        _leave("Someone else rates"),
    )


def trial_page(test: Test, trial: Trial, number: int, n_trials: int, rater: str) -> bytes:
    title = f"{number + 1} of {n_trials}"
    body = {"mos": _mos, "mushra": _mushra, "ab": _ab}[test.kind](trial, number)
    form = element(
        "form",
        element("input", type="hidden", name="trial", value=number),
        *body,
        element("p", "", id="hint", class_="soft", aria_live="polite"),
        element("p", element("button", "Next", type="submit")),
        method="post",
        action="/answer",
        class_="trial",
    )
    return page(
        title,
        element("p", element("progress", value=number, max=n_trials, aria_label="progress"), title, class_="soft"),
        element("h1", test.question),
        form,
        _leave(f"You rate as {rater}. Someone else?"),
        script=SCRIPT,
    )


def _mos(trial: Trial, number: int) -> list[Element]:
    choices = [_choice("score0", grade, f"{grade} {GRADES[grade - 1]}") for grade in range(len(GRADES), 0, -1)]
    return [element("fieldset", element("legend", "the clip"), _player(trial, number, 0, "clip"), *choices)]


def _ab(trial: Trial, number: int) -> list[Element]:
    sides = [
        element("fieldset", element("legend", letter), _player(trial, number, place, letter),
                _choice("chosen", place, f"{letter} is better"))
        for place, letter in enumerate("AB")
    ]  # fmt: skip
    return [element("div", *sides, class_="pair")]


def _mushra(trial: Trial, number: int) -> list[Element]:
    reference = element("fieldset", element("legend", "reference"), _player(trial, number, -1, "reference"))
    boxes = []
    for place in range(len(trial.stimuli)):
        letter = chr(ord("A") + place)
        slider = element(
            "input", type="range", name=f"score{place}", min=0, max=100, value=0, aria_label=f"grade of {letter}"
        )
        boxes.append(
            element(
                "fieldset",
                element("legend", letter),
                _player(trial, number, place, letter),
                element("div", slider, element("output", "–")),
                element("div", *(element("span", band) for band in BANDS), class_="scale"),
            )
        )
    return [reference, element("div", *boxes, class_="pair")]


def _choice(name: str, value: int, words: str) -> Element:
    return element("label", element("input", type="radio", name=name, value=value, required=""), words, class_="choice")


def _player(trial: Trial, number: int, place: int, words: str) -> Element:
    """Sound, film or picture; place -1 is the reference that is shown as such."""
    suffix = Path(trial.stimuli[0].item).suffix.lower()
    source = f"/media/{number}/{'reference' if place < 0 else place}"
    if SUFFIXES[suffix] == "sound":
        return element("audio", controls="", preload="auto", src=source, aria_label=words)
    if SUFFIXES[suffix] == "film" and suffix != ".gif":
        return element("video", controls="", playsinline="", preload="auto", src=source, aria_label=words)
    return element("img", src=source, alt=words)


def _leave(words: str) -> Element:
    return element("form", element("p", element("button", words, type="submit")), method="post", action="/leave",
                   class_="leave")  # fmt: skip
