"""The pictures of the docs: each is made by the script, stands in a page, and is small."""

from __future__ import annotations

import ast
import importlib.util
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from tests.support.paths import ROOT

FOLDER = ROOT / "docs" / "guide" / "images"
_PICTURE = re.compile(r"!\[[^\]]*\]\(([^)#]+)\)")


def made() -> set[str]:
    """The names that the script knows."""
    names: set[str] = set()
    for node in ast.parse((FOLDER / "make.py").read_text()).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) in ("PAGES", "TERMINALS"):
            assert isinstance(node.value, ast.Dict)
            names |= {ast.literal_eval(key) for key in node.value.keys if key is not None}
    return names


def test_the_script_makes_every_picture_that_the_docs_show() -> None:
    shown = set()
    for page in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]:
        for target in _PICTURE.findall(page.read_text()):
            path = (page.parent / target).resolve()
            assert path.exists(), f"{page}: no picture {target}"
            shown |= {path.name} if path.parent == FOLDER else set()
    kept = {path.name for path in FOLDER.iterdir() if path.suffix in (".png", ".svg")}
    assert shown == kept == made()


def test_pictures_are_small_and_load_nothing() -> None:
    for path in FOLDER.iterdir():
        if path.suffix in (".png", ".svg"):
            assert path.stat().st_size < 120_000, path
        if path.suffix == ".svg":
            assert "url(" not in path.read_text().replace("url(#", ""), path


def module(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
    assert spec is not None and spec.loader is not None
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


def test_a_terminals_picture_has_its_width_and_colours(tmp_path: Path) -> None:
    terminal = module("terminal")
    code = (
        "import os, sys; print('\\33[31mred\\33[0m', os.get_terminal_size().columns, os.getcwd())"
    )
    text = terminal.screen([sys.executable, "-c", code], 66, tmp_path)
    assert text == f"\33[31mred\33[0m 66 {tmp_path}\n"
    svg = terminal.drawing(text, "orch ls", 66)
    assert ">red</text>" in svg and "@font-face" not in svg
    with pytest.raises(subprocess.CalledProcessError):
        terminal.screen([sys.executable, "-c", "raise SystemExit(2)"], 66, tmp_path)


@pytest.mark.slow(reason="starts Chromium")
@pytest.mark.skipif(shutil.which("chromium") is None, reason="needs Chromium")
def test_a_pages_picture_is_of_the_page_that_was_asked_for(tmp_path: Path) -> None:
    chromium = module("chromium")
    page = tmp_path / "page.html"
    page.write_text("<body style='margin:0;background:rgb(0,128,0)'>words</body>")
    with chromium.Chromium("window.before = 1") as browser:
        browser.open(page.as_uri(), 320, 200)
        browser.wait_for("document.body.innerText == 'words'")
        assert browser.run("window.before") == 1
        chromium.save_small(browser.picture(), tmp_path / "page.png")
    from PIL import Image

    image = Image.open(tmp_path / "page.png").convert("RGB")
    assert image.size == (320, 200) and image.getpixel((319, 199)) == (0, 128, 0)
