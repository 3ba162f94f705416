"""HTML as a tree, so that text is escaped by construction: a prompt may hold `<script>`."""

from pathlib import Path
from xml.etree.ElementTree import Element, SubElement, tostring

STYLE = Path(__file__).with_name("page.css")


def element(tag: str, *children: Element | str | None, **attributes: str | float | int) -> Element:
    """An element; None among the children is left out, `class_` is class and `data_label` data-label."""
    names = {name.rstrip("_").replace("_", "-"): str(value) for name, value in attributes.items()}
    made = Element(tag, names)
    for child in children:
        if isinstance(child, str):
            _append_text(made, child)
        elif child is not None:
            made.append(child)
    return made


def _append_text(to: Element, text: str) -> None:
    if len(to):
        to[-1].tail = (to[-1].tail or "") + text
    else:
        to.text = (to.text or "") + text


def page(title: str, *body: Element | str | None, script: str = "") -> bytes:
    """A whole document with the style inside it; `script`, ours and never from data, comes last."""
    root = Element("html", {"lang": "en"})
    head = SubElement(root, "head")
    head.append(element("meta", charset="utf-8"))
    head.append(element("meta", name="viewport", content="width=device-width, initial-scale=1"))
    head.append(element("title", title))
    head.append(element("style", STYLE.read_text(encoding="utf-8")))
    root.append(element("body", *body, element("script", script) if script else None))
    text = "<!doctype html>\n" + tostring(root, encoding="unicode", method="html") + "\n"
    return text.encode("utf-8", errors="backslashreplace")  # a file name may hold bytes that are no characters
