"""Codecs side by side: figures that are known, judges that are missing, and the folder that tells of them."""

import json
import math
import weakref
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch

from nexus.codecs.encodec import Encodec, EncodecConfig
from nexus.codecs.seanet import SEANetConfig
from nexus.media import Audio, Image
from nexus.metrics import compare_codecs as comparing
from nexus.metrics import report_codecs
from nexus.metrics.compare_codecs import Neural, Opus, compare_codecs, opus_at, passed
from nexus.metrics.judge import Judge, Measure, MissingJudge, Verdict
from nexus.metrics.report_codecs import as_json, html, spectrogram_sheet, write_comparison
from nexus.metrics.si_sdr import si_sdr_judge
from nexus.metrics.spectra import spectra_judge
from nexus.nn.quantize import QuantizerConfig

RATE = 8000


def sound(seconds=1.0, rate=RATE, channels=1):
    rng = np.random.default_rng(0)
    return Audio(0.3 * rng.standard_normal((channels, round(rate * seconds))).clip(-2, 2), rate)


@dataclass(kw_only=True)
class Noisy:
    """Adds noise, at 2 bits a sample."""

    level: float
    name: str
    notes: tuple[str, ...] = ("hissing",)

    def there_and_back(self, sound):
        noise = self.level * np.random.default_rng(1).standard_normal(sound.samples.shape)
        return Audio(sound.samples + noise, sound.rate), 2.0 * sound.length


WANTED = "PESQ wants the package pesq: pip install 'nexus-media[eval]'"


def missing():
    raise MissingJudge(WANTED)


def unable():
    """A judge of its own kind: hears, needs no reference, and cannot tell."""
    return Judge(
        name="unable",
        version="1",
        measures=(Measure(name="beauty"),),
        values=lambda sample: Verdict(values={"beauty": math.nan}, note="too short"),
    )


@pytest.fixture
def silent_whisper(monkeypatch):
    monkeypatch.setattr(comparing, "Recogniser", missing)


@pytest.fixture
def found(silent_whisper):
    coders = [Noisy(level=0.01, name="good"), Noisy(level=0.1, name="<bad> & loud")]
    return compare_codecs(
        sound(2), [lambda c=c: c for c in coders], makers=(spectra_judge, si_sdr_judge, missing, unable)
    )


def test_figures_are_those_of_what_came_back(found):
    own, good, bad = found.rows
    assert own.name == "the sound itself" and set(own.values) == {"beauty"} and own.made == found.sound
    assert good.values["bit rate"] == pytest.approx(2 * RATE / 1000) and good.values["real-time factor"] > 0
    signal = found.sound.samples.std()
    for row, level in ((good, 0.01), (bad, 0.1)):
        assert row.values["SI-SDR"] == pytest.approx(20 * math.log10(signal / level), abs=0.2)
    assert 0 < good.values["mel distance"] < bad.values["mel distance"]
    assert math.isnan(good.values["beauty"]) and good.notes == ("hissing", "too short")
    assert [m.name for m in found.measures][:2] == ["bit rate", "real-time factor"]
    assert found.left_out == (WANTED,) * 2
    assert found.judges == ("spectra (nexus 1)", "SI-SDR (nexus 1)", "unable (1)")


def test_each_codec_is_loaded_when_its_turn_comes(silent_whisper):
    turns, earlier = [], []

    def load(name):
        assert not any(reference() for reference in earlier)  # one at a time in memory
        turns.append(name)
        coder = Noisy(level=0, name=name)
        earlier.append(weakref.ref(coder))
        return coder

    compare_codecs(
        sound(),
        [lambda: load("a"), lambda: load("b")],
        makers=(),
        progress=lambda done, total, what: turns.append((done, total, what)),
    )
    assert turns == ["a", (0, 2, "a"), "b", (1, 2, "b")]


def test_opus_comes_last_at_the_bit_rates_of_the_others(silent_whisper):
    asked = []

    def beside(rates):
        asked.extend(rates)
        return [Noisy(level=0, name="beside")]

    found = compare_codecs(sound(channels=2), [lambda: Noisy(level=0, name="a")] * 2, makers=(), beside=beside)
    assert asked == [pytest.approx(RATE / 1000)] * 2  # a channel
    assert [row.name for row in found.rows] == ["the sound itself", "a", "a", "beside"]


@pytest.mark.parametrize(("text", "said_by"), [(None, "Whisper, of the sound itself"), ("a b c", "--text")])
def test_words(monkeypatch, text, said_by):
    """A recogniser that hears one word less where there is noise."""

    class Hearing:
        def transcribe(self, audio):
            return "one two three four" if np.array_equal(audio.samples, sound().samples) else "one two three"

    def judge(hear):
        def values(sample):
            lost = len(sample.prompt.split()) - len(hear(sample.made).split())
            return Verdict(values={"word error rate": float(lost), comparing.CLEAR: 100.0}, note=hear(sample.made))

        measures = (Measure(name="word error rate"), Measure(name=comparing.CLEAR))
        return Judge(name="hearing", version="1", measures=measures, values=values)

    monkeypatch.setattr(comparing, "Recogniser", Hearing)
    monkeypatch.setattr(comparing, "recogniser_judge", judge)
    monkeypatch.setattr(comparing, "normalise", str)
    found = compare_codecs(sound(), [lambda: Noisy(level=0.1, name="x")], text=text, makers=())
    assert (found.text, found.said_by) == (text or "one two three four", said_by)
    assert found.rows[1].values["word error rate"] == (1.0 if text is None else 0.0)
    assert found.rows[1].notes == ("hissing", "one two three")
    # How many of a set are clear is not told of one sound.
    assert comparing.CLEAR not in found.rows[1].values and len(found.measures) == 3


def test_a_sound_without_words(monkeypatch):
    monkeypatch.setattr(comparing, "Recogniser", lambda: type("R", (), {"transcribe": lambda self, audio: "..."})())
    monkeypatch.setattr(comparing, "recogniser_judge", lambda hear: unable())
    monkeypatch.setattr(comparing, "normalise", lambda words: words)
    found = compare_codecs(sound(), [], makers=())
    assert found.text == "" and found.judges == () and "Whisper hears no words" in found.left_out[0]


def small():
    torch.manual_seed(0)
    seanet = SEANetConfig(n_filters=2, ratios=(8, 4), n_lstm_layers=1)
    quantizer = QuantizerConfig(n_codebooks=3, codebook_size=16, dim=4)
    return Encodec(EncodecConfig(sample_rate=RATE, seanet=seanet, quantizer=quantizer)).eval()


@pytest.mark.parametrize(("bitrate", "expected"), [(None, 3000), (2.2, 2000)])
def test_a_codec_of_ours(bitrate, expected):
    coder = Neural(codec=small(), bitrate=bitrate, name="small")
    row = passed(coder, sound(rate=16_000, channels=2))
    assert row.values["bit rate"] == pytest.approx(2 * expected / 1000)
    assert row.notes == ("at 8000 Hz", "2 channels coded one by one")
    assert row.made.channels == 2 and row.made.length == RATE and row.made.rate == RATE
    whole = sound(rate=16_000, channels=2).resample(RATE).tensor()[:, None]
    n_codebooks = 3 if bitrate is None else 2
    codes = coder.codec.encode(whole, n_codebooks=n_codebooks)
    torch.testing.assert_close(row.made.tensor()[:, None], coder.codec.decode(codes, length=RATE), atol=1e-5, rtol=0)


@pytest.mark.parametrize("channels", [1, 2])
def test_opus_at_its_rate(channels):
    tones = np.sin(np.cumsum(np.random.default_rng(0).uniform(0.02, 0.2, 80).repeat(1200)))
    tone = Audio(np.stack([0.3 * tones] * channels), 48_000)
    rates = []
    for bitrate in (12.0, 64.0):
        row = passed(Opus(bitrate=bitrate), tone)
        rates.append(row.values["bit rate"])
        assert (row.made.length, row.made.channels) == (tone.length, channels) and row.name == f"opus@{bitrate:g}kbps"
        assert 0.3 * bitrate < row.values["bit rate"] < 1.5 * channels * bitrate
        assert np.corrcoef(row.made.samples[0], tone.samples[0])[0, 1] > 0.9
    assert rates[1] > 2 * rates[0]


def test_six_channels_are_mixed_down_for_opus():
    row = passed(Opus(bitrate=16.0), sound(channels=6))
    assert row.made.channels == 1 and row.notes == ("6 channels mixed down to one",)


def test_opus_rates():
    assert [opus.bitrate for opus in opus_at([1.9, 6.1, 24.0, 24.5, 1000.0])] == [6.0, 24.0, 256.0]


def test_json_has_null_where_a_judge_could_not_tell(found):
    told = as_json(found, "in.wav")
    text = json.dumps(told, allow_nan=False)
    assert json.loads(text) == told and told["codecs"][1]["values"]["beauty"] is None
    assert [row["name"] for row in told["codecs"]] == ["the sound itself", "good", "<bad> & loud"]


def test_the_best_of_each_column_stands_out(found):
    page = html(found, "in.wav").decode()
    rows = page.split("<tr")[2:]
    for name, row in zip(("itself", "good", "bad"), rows, strict=False):
        assert name in row and row.count('class="good"') == {"itself": 0, "good": 3, "bad": 0}[name] + row.count(
            'data-label="real-time factor" class="good"'
        ) + row.count('data-label="bit rate" class="good"')
    assert "&lt;bad&gt; &amp; loud" in page and "<bad>" not in page and "hissing; too short" in page
    assert page.count("<audio") == 3 and "PESQ wants the package pesq" in page


def test_the_sheet_has_a_band_a_codec(found):
    sheet = spectrogram_sheet(found)
    height = report_codecs.ROW_HEIGHT + report_codecs.LABEL_HEIGHT
    assert (sheet.height, sheet.width) == (3 * height, report_codecs.SHEET_WIDTH)
    bands = np.split(sheet.pixels, 3)
    labels = [band[: report_codecs.LABEL_HEIGHT] for band in bands]
    assert all(label.min() < 50 < 250 < label.max() for label in labels) and not np.array_equal(labels[1], labels[2])


def test_a_folder_whole_or_not_at_all(found, tmp_path, monkeypatch):
    monkeypatch.setattr(report_codecs, "html", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        write_comparison(found, tmp_path / "out", "in.wav")
    assert not list(tmp_path.iterdir())
    monkeypatch.undo()
    (tmp_path / "out").mkdir()
    write_comparison(found, tmp_path / "out", "in.wav")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    told = json.loads((tmp_path / "out" / "comparison.json").read_text())
    for row, kept in zip(told["codecs"], found.rows, strict=True):
        assert Audio.load(tmp_path / "out" / row["path"]) == kept.made
    assert Image.load(tmp_path / "out" / "spectrograms.png").width == report_codecs.SHEET_WIDTH
    with pytest.raises(OSError):
        write_comparison(replace(found, rows=found.rows[:1]), tmp_path / "out", "in.wav")
    assert len(json.loads((tmp_path / "out" / "comparison.json").read_text())["codecs"]) == 3
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
