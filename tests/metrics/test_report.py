"""A report is read back with an HTML parser: everything is in it, nothing is fetched, nothing is run."""

import base64
import math
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest

from nexus.media import Audio, Image, Video
from nexus.metrics.figures import Card, Evaluation, Item, figure
from nexus.metrics.report import html, write_report
from nexus.metrics.report_media import spectrogram
from nexus.metrics.report_tables import number

CARD = Card(
    judge="whisper base", version="1.2.1", weights="0123456789abcdef", items=4, resampling="", crop="first 10 s", seed=0
)
EVIL = '<script>alert("x")</script> & "quotes" \udc80'
RATE = 8000


class Read(HTMLParser):
    """Tags with their attributes, and the text of each."""

    def __init__(self, data):
        super().__init__()
        self.tags, self.text, self.open = [], {}, []
        self.feed(data.decode())

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "img", "br", "input"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.setdefault(self.open[-1] if self.open else "", []).append(data)

    def all(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]

    @property
    def words(self):
        return "\n".join(part for tag, parts in self.text.items() if tag != "style" for part in parts)


NAN = math.nan


def tone(seconds=0.5, channels=1):
    wave = 0.3 * np.sin(np.arange(round(seconds * RATE)) * 2 * np.pi * 440 / RATE)
    return Audio(np.stack([wave] * channels), RATE)


def wer(values=(1.0, 2.0, 3.0, math.nan), card=CARD, **kwargs):
    return figure("WER", values, unit="%", better="lower", card=card, **kwargs)


@pytest.fixture
def evaluation():
    film = Video(np.random.default_rng(0).integers(0, 255, (9, 15, 17, 3), np.uint8), 8)
    picture = Image(np.full((8, 12, 3), 200, np.uint8))
    whole = replace(wer(), name="FAD", unit="", items=(), weights=())
    return Evaluation(
        kind="speech", model="nexus/a", data="valid",
        figures=(wer(), whole), baselines={"natural <b>": (wer((0.0, 1.0, 0.5, 0.5)),)},
        items=(
            Item(prompt=EVIL, made=tone(), reference=tone(channels=2), values={"WER": 1.25, "F0": NAN}, note="<i>"),
            Item(prompt="a boat", made=film, reference=picture, values={}, note=""),
            Item(prompt="nothing", made=Audio.silence(0, RATE), reference=Audio.silence(10, RATE), values={}, note=""),
        ),
        left_out=("DNSMOS wants sig_bak_ovr.onnx in ~/x",),
    )  # fmt: skip


def test_everything_is_there(evaluation, tmp_path):
    path = tmp_path / "report.html"
    write_report(evaluation, path)
    assert [file.name for file in tmp_path.iterdir()] == ["report.html"]
    page = Read(path.read_bytes())
    assert page.open == []
    for words in ("WER", "FAD", "natural <b>", "not measured", "first 10 s", "0123456789abcdef", "whisper base"):
        assert words in page.words
    assert "1 of 4 items could not be judged" in page.words and "DNSMOS wants sig_bak_ovr.onnx in ~/x" in page.words
    assert '1. <script>alert("x")</script> & "quotes" \\udc80' in page.words and "<i>" in page.words
    assert "2. a boat" in page.words and "3. nothing" in page.words and "an empty sound" in page.words
    assert "silent" in page.words and "1.25" in page.words
    assert len(page.all("article")) == 3 and len(page.all("audio")) == 3 and len(page.all("video")) == 1
    assert len(page.all("svg")) == 1 and "Of the whole set, without values an item: FAD." in page.words
    assert len(page.all("details")) == 3
    assert b"<script" not in path.read_bytes()


def test_nothing_is_fetched(evaluation):
    page = Read(html(evaluation, evaluation))
    sources = [
        v for _, attributes in page.tags for k, v in attributes.items() if k in ("src", "href", "poster", "srcset")
    ]
    assert sources and all(source.startswith("data:") for source in sources)
    assert not re.search(rb"https?://|url\(|@import", html(evaluation))
    assert html(evaluation) == html(evaluation)


def test_media_play_what_was_given(evaluation, tmp_path):
    page = Read(html(evaluation))
    for tag, suffix, media in (("audio", "opus", Audio), ("video", "mp4", Video)):
        kind, _, data = page.all(tag)[0]["src"].partition(";base64,")
        path = tmp_path / f"x.{suffix}"
        path.write_bytes(base64.b64decode(data))
        assert kind == {"audio": "data:audio/ogg", "video": "data:video/mp4"}[tag]
        assert media.load(path).seconds == pytest.approx({"audio": 0.5, "video": 9 / 8}[tag], abs=0.02)
        if tag == "video":
            assert (media.load(path).height, media.load(path).width) == (16, 18)


def test_a_tone_is_a_bright_line_at_its_pitch():
    picture = spectrogram(tone(2.0)).pixels.astype(int).sum(-1)
    rows = picture[:, 20:-20].mean(1)
    low = spectrogram(Audio(tone(2.0).samples, RATE // 4)).pixels.astype(int).sum(-1)[:, 20:-20].mean(1)
    assert rows.max() > 3 * np.median(rows)
    assert rows.argmax() > len(rows) / 2  # 440 of 4000 Hz lies low, and low is below
    assert low.argmax() > len(low) / 2
    assert spectrogram(Audio.silence(50, RATE)).pixels.max() <= 8


def test_differences_and_refusals(evaluation):
    better = replace(evaluation, model="nexus/b", figures=(wer((2.0, 3.0, 4.0, math.nan)),), items=())
    words = Read(html(evaluation, better)).words
    assert "Against nexus/b" in words and "nexus/a less nexus/b" in words
    assert "this one" in words and "same items, paired" in words
    assert "not compared: the other lacks it" in words  # FAD
    other_card = replace(better, figures=(wer(card=replace(CARD, seed=7, crop="first 5 s")),))
    words = Read(html(evaluation, other_card)).words
    assert "crop ('first 10 s' and 'first 5 s')" in words and "seed (0 and 7)" in words and "this one" not in words
    words = Read(html(evaluation, replace(better, data="test"))).words
    assert "Not compared: the evaluations differ in data (valid and test)." in words


def test_a_baseline_of_another_protocol_says_so(evaluation):
    other = replace(evaluation, baselines={"old": (wer(card=replace(CARD, version="0.9")),)})
    assert "the protocols differ in version ('1.2.1' and '0.9')" in Read(html(other)).words
    same_name = replace(evaluation, baselines={"nexus/a": (wer(),)})
    assert "nexus/a (baseline)" in Read(html(same_name)).words


def test_numbers_are_as_precise_as_their_intervals():
    assert number(12.3456, 11.0, 13.7) == "12.3"
    assert number(1234.5, 1000, 1500) == "1234" and number(0.12345, 0.12, 0.127) == "0.1235"
    assert (
        number(3.0) == "3" and number(math.nan) == "—" and number(math.inf) == "infinite" and number(2.0, 2, 2) == "2"
    )


def test_refused_before_anything_is_written(evaluation, tmp_path):
    empty = replace(evaluation, figures=(), items=())
    with pytest.raises(ValueError, match="neither figures nor items"):
        write_report(empty, tmp_path / "a.html")
    with pytest.raises(ValueError, match=r"must end in one of \.html"):
        write_report(evaluation, tmp_path / "a.pdf")
    with pytest.raises(FileNotFoundError):
        write_report(evaluation, tmp_path / "no" / "a.html")
    assert list(tmp_path.iterdir()) == []


def test_what_was_there_stays_when_writing_fails(evaluation, tmp_path, monkeypatch):
    path = tmp_path / "a.html"
    path.write_text("before")
    monkeypatch.setattr("nexus.metrics.report.shown", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        write_report(evaluation, path)
    assert path.read_text() == "before" and len(list(tmp_path.iterdir())) == 1
