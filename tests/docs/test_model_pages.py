import ast
import importlib
import re
from pathlib import Path

import pytest

PAGES = sorted(Path("docs/models").glob("*.md"))
WHOLE = (
    *("ddpm", "conditional-diffusion", "flow-matching", "consistency-models", "lcm", "dit", "stable-diffusion"),
    *("stable-diffusion-3", "flux", "pixart", "lora", "controlnet", "ip_adapter", "gan", "wgan", "cycle_gan", "vae"),
    *("vocos", "musicgen", "f5tts", "cogvideox"),
)
CODE = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_files_and_names_that_a_page_mentions_are_there(page):
    text = page.read_text()
    folders = set()
    for path in re.findall(r"`((?:nexus|tests|examples|benchmarks|pictures)/[\w./-]+\.\w+)`|`([\w-]+\.py)`", text):
        whole, alone = path
        if whole:
            folders.add(whole.rpartition("/")[0])
            assert Path(whole).is_file(), f"{page}: {whole}"
        else:  # a file beside one that was named before it
            assert any(Path(folder, alone).is_file() for folder in folders), f"{page}: {alone} is in none of {folders}"
    for name in re.findall(r"`(nexus(?:\.\w+)+)[`(]", text):
        assert exists(name), f"{page}: {name}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_what_a_page_imports_can_be_imported(page):
    for block in CODE.findall(page.read_text()):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("nexus"):
                assert all(exists(f"{node.module}.{alias.name}") for alias in node.names), f"{page}: {node.module}"


def test_each_page_is_in_the_menu_and_says_what_it_must():
    menu = Path("mkdocs.yml").read_text()
    for page in PAGES:
        assert f"models/{page.name}" in menu, page
        assert "**Idea.**" in page.read_text() and "Code: `nexus/" in " ".join(page.read_text().split()), page


@pytest.mark.parametrize("stem", WHOLE)
def test_pages_are_whole(stem):
    text = Path(f"docs/models/{stem}.md").read_text()
    assert "$" in text and "../pictures/" in text, "equations and pictures"
    assert re.search(r"\*\*(Walk through|The files?|Walk through the files?)\b", text), "a walk through our file"
    assert "**Training" in text and re.search("[Ww]hat goes wrong|Pitfalls", text), "how to train and what goes wrong"
    assert re.search("[Oo]fficial weights", text), "official weights that load, or that there are none"
    assert "**Checked" in text, "what was checked"


def exists(name: str) -> bool:
    """Whether a dotted name is a module, or something in one."""
    for cut in range(name.count("."), -1, -1):
        parts = name.split(".")
        try:
            found = importlib.import_module(".".join(parts[: cut + 1]))
        except ModuleNotFoundError:
            continue
        for part in parts[cut + 1 :]:
            if not hasattr(found, part):
                return False
            found = getattr(found, part)
        return True
    return False


def test_the_test_would_see_a_name_that_is_not_there():
    assert exists("nexus.process.flow.heun") and not exists("nexus.process.flow.hoin") and not exists("nexus.nowhere")
