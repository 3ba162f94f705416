"""What mkdocs does besides: it draws the pictures that pages name, with captions, and sets equations as MathML.

A page shows a picture by `![what one sees](../pictures/NAME.png)`. How much is trained for them is `extra.pictures` of
mkdocs.yml: "none" leaves pictures out, "brief" trains a quarter of what is not trained yet, "full" all of it.
"""

import html
import logging
import re
import sys
from pathlib import Path
from typing import Any, get_args

from latex2mathml.converter import convert
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files

ROOT = str(Path(__file__).parents[1])
if ROOT not in sys.path:  # mkdocs runs this file by its path
    sys.path.insert(0, ROOT)

from pictures.all import PICTURES  # noqa: E402
from pictures.registry import Made, make  # noqa: E402
from pictures.runs import Mode  # noqa: E402

log = logging.getLogger("mkdocs.hooks.pictures")
SHOWN = re.compile(  # a paragraph of its own
    r"(?<=\n\n)!\[(?P<words>[^]]*)\]\((?P<up>(?:\.\./)*)pictures/(?P<name>[\w-]+)\.png\)(?=\n\n|\n?\Z)"
)
EQUATION = re.compile(r'<(?P<tag>span|div) class="arithmatex">\\[(\[](?P<latex>.*?)\\[)\]]</(?P=tag)>', re.DOTALL)
NOT_DRAWN = Made(None, "Not drawn in this build: `make docs` draws it.")


def on_config(config: MkDocsConfig) -> None:
    if config.extra["pictures"] not in get_args(Mode):
        raise PluginError(f"PICTURES must be one of {', '.join(get_args(Mode))}, got {config.extra['pictures']!r}")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Draws what pages name, one after the other."""
    mode: Mode = config.extra["pictures"]
    names = sorted({name for page in files.documentation_pages() for name in named(page.content_string)})
    unknown = [name for name in names if name not in PICTURES]
    if unknown:
        raise PluginError(f"no function draws {unknown[0]}.png; pictures are in pictures/all.py: {', '.join(PICTURES)}")
    for i, name in enumerate(names if mode != "none" else [], 1):
        log.info(f"picture {i} of {len(names)}: {name}")
        if file := _made(name, mode).file:
            files.append(File.generated(config, f"pictures/{name}.png", abs_src_path=str(file)))
    return files


def on_page_markdown(markdown: str, page: Any, config: MkDocsConfig, files: Files) -> str:
    return SHOWN.sub(lambda found: figure(found, config.extra["pictures"]), markdown)


def on_page_content(content: str, page: Any, config: MkDocsConfig, files: Files) -> str:
    return EQUATION.sub(equation, content)


def named(markdown: str) -> list[str]:
    """The pictures that a page shows."""
    return [found["name"] for found in SHOWN.finditer(markdown)]


def figure(found: re.Match[str], mode: Mode) -> str:
    """The picture with its caption, or the caption alone with what draws it."""
    made = NOT_DRAWN if mode == "none" else _made(found["name"], mode)
    inner = f"![{found['name']}]({found['up']}pictures/{found['name']}.png)" if made.file else ""
    caption = f"<figcaption markdown>{found['words']}<br><small markdown>{made.note}</small></figcaption>"
    return f'<figure markdown="span">{inner}{caption}</figure>'


def equation(found: re.Match[str]) -> str:
    """MathML, which browsers set by themselves, of what arithmatex left as LaTeX."""
    display = "block" if found["tag"] == "div" else "inline"
    return convert(html.unescape(found["latex"]), display=display)


def _made(name: str, mode: Mode) -> Made:
    """A picture, or why it cannot be drawn here: the storybook world needs a font."""
    try:
        return make(name, PICTURES[name], mode)
    except FileNotFoundError as missing:
        return Made(None, f"Not drawn in this build: {missing}.")
