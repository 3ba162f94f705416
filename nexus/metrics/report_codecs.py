"""A comparison of codecs as one HTML file, as JSON, and as a sheet of spectrograms."""

import json
import math
import os
import tempfile
from pathlib import Path
from xml.etree.ElementTree import Element

import numpy as np

from nexus.media import Image
from nexus.metrics.compare_codecs import Comparison, Row
from nexus.metrics.markup import element, page
from nexus.metrics.report import section
from nexus.metrics.report_media import shown, spectrogram
from nexus.metrics.report_tables import number

SHEET_WIDTH, ROW_HEIGHT, LABEL_HEIGHT = 900, 160, 22  # pixels


def write_comparison(comparison: Comparison, folder: Path, name: str) -> None:
    """Writes spectrograms, page, JSON and media of the sound called `name`: the whole folder or none.

    Raises:
        OSError: a file could not be written, or the folder is there and not empty.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".comparison-") as draft:
        _write(comparison, Path(draft) / "whole", name)
        os.replace(Path(draft) / "whole", folder)


def _write(comparison: Comparison, folder: Path, name: str) -> None:
    (folder / "media").mkdir(parents=True)
    data = as_json(comparison, name)
    for row, told in zip(comparison.rows, data["codecs"], strict=True):
        row.made.save(folder / told["path"])
    spectrogram_sheet(comparison).save(folder / "spectrograms.png")
    (folder / "report.html").write_bytes(html(comparison, name))
    (folder / "comparison.json").write_text(json.dumps(data, ensure_ascii=False, indent=1), encoding="utf-8")


def as_json(comparison: Comparison, name: str) -> dict:
    """Figures by codec, null where a judge could not judge; paths are those in the folder."""
    return {
        "sound": name,
        "seconds": comparison.sound.seconds,
        "text": comparison.text,
        "said_by": comparison.said_by,
        "judges": list(comparison.judges),
        "measures": [{"name": m.name, "unit": m.unit, "better": m.better} for m in comparison.measures],
        "codecs": [
            {
                "name": row.name,
                "path": f"media/{i:02d}-{''.join(c if c.isalnum() or c in '-.@' else '-' for c in row.name)}.wav",
                "values": {key: None if math.isnan(value) else value for key, value in row.values.items()},
                "notes": list(row.notes),
            }
            for i, row in enumerate(comparison.rows)
        ],
        "left_out": list(comparison.left_out),
    }


def cell(row: Row, measure: str) -> str:
    """A figure as text; empty where the row has none, a dash where the judge could not tell."""
    return number(row.values[measure]) if measure in row.values else ""


def spectrogram_sheet(comparison: Comparison) -> Image:
    """One spectrogram under the other at one scale of time and pitch, each with its codec's name."""
    rate, parts = comparison.sound.rate, []
    scale = f"{comparison.sound.seconds:.3g} s, to {rate / 2000:g} kHz"
    for row in comparison.rows:
        drawn = spectrogram(row.made.mono().resample(rate).fit(comparison.sound.length))
        told = f"{row.values['bit rate']:.3g} kb/s" if "bit rate" in row.values else scale
        parts += [_label(f"{row.name}   {told}"), drawn.resize(ROW_HEIGHT, SHEET_WIDTH).pixels]
    return Image(np.concatenate(parts, axis=0))


def _label(text: str) -> np.ndarray:
    from PIL import Image as Picture
    from PIL import ImageDraw

    strip = Picture.new("RGB", (SHEET_WIDTH, LABEL_HEIGHT), "white")
    ImageDraw.Draw(strip).text((6, 4), text, fill="black")
    return np.asarray(strip)


def html(comparison: Comparison, name: str) -> bytes:
    title = f"Codecs on {name}"
    said = f"What is said, by {comparison.said_by}: {comparison.text}" if comparison.text else ""
    return page(
        title,
        element("h1", title),
        element("p", f"{comparison.sound.seconds:.2f} s. Figures of this sound alone, without intervals. {said}"),
        section("Figures", _table(comparison)),
        section("Judges", _list(comparison.judges)),
        section("Judges left out", _list(comparison.left_out)),
        section("To hear and see", *(_heard(row) for row in comparison.rows)),
    )


def _list(items: tuple[str, ...]) -> Element:
    return element("ul", *(element("li", item) for item in items)) if items else element("p", "None.")


def _table(comparison: Comparison) -> Element:
    """A row a codec; the best figure of each column stands out."""
    head = [element("th", "codec", scope="col")]
    for measure in comparison.measures:
        hint = f"{measure.unit + ', ' if measure.unit else ''}{measure.better} is better"
        head.append(element("th", measure.name, element("div", hint, class_="soft"), scope="col"))
    rows = []
    for row in comparison.rows:
        cells = [
            element(
                "td", cell(row, m.name), data_label=m.name, class_="good" if _is_best(comparison, row, m.name) else ""
            )
            for m in comparison.measures
        ]
        rows.append(element("tr", element("th", row.name, scope="row"), *cells))
    return element("table", element("thead", element("tr", *head)), element("tbody", *rows))


def _is_best(comparison: Comparison, row: Row, measure: str) -> bool:
    """Among the codecs; the sound itself, which comes first, does not take part."""
    better = next(m.better for m in comparison.measures if m.name == measure)
    values = [r.values.get(measure, math.nan) for r in comparison.rows[1:]]
    known = [value for value in values if not math.isnan(value)]
    best = (max if better == "higher" else min)(known, default=math.nan)
    return row is not comparison.rows[0] and len(known) > 1 and row.values.get(measure) == best


def _heard(row: Row) -> Element:
    return element(
        "article",
        element("h3", row.name),
        shown(row.made, "made"),
        element("p", "; ".join(row.notes), class_="note") if row.notes else None,
    )
