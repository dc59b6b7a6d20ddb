"""The pictures of the docs: each is made by the script, stands in a page, and is small."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.browser import CHROMIUM, DRIVER, started
from tests.support.paths import ROOT
from tests.support.scripts import script

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


def test_a_terminals_picture_has_its_width_and_colours(tmp_path: Path) -> None:
    terminal = script(FOLDER / "terminal.py")
    code = (
        "import os, sys; print('\\33[31mred\\33[0m', os.get_terminal_size().columns, os.getcwd())"
    )
    text = terminal.screen([sys.executable, "-c", code], 66, tmp_path)
    assert text == f"\33[31mred\33[0m 66 {tmp_path}\n"
    svg = terminal.drawing(text, "orch ls", 66)
    assert ">red</text>" in svg and "@font-face" not in svg
    with pytest.raises(subprocess.CalledProcessError):
        terminal.screen([sys.executable, "-c", "raise SystemExit(2)"], 66, tmp_path)


@pytest.mark.slow(reason="starts a browser")
@pytest.mark.skipif(
    CHROMIUM is None or DRIVER is None, reason="no chromium with its chromedriver is installed"
)
def test_a_pages_picture_is_of_the_page_that_was_asked_for(tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.write_text("<body style='margin:0;background:rgb(0,128,0)'>words</body>")
    (tmp_path / "profile").mkdir()
    with started(tmp_path / "profile") as browser:
        browser.before_pages("window.before = 1")
        browser.open(page, 320, height=200)
        assert browser.wait_for("return document.body.innerText == 'words' && window.before == 1")
        browser.small_picture(tmp_path / "page.png")
    from PIL import Image

    image = Image.open(tmp_path / "page.png").convert("RGB")
    assert image.size == (320, 200) and image.getpixel((319, 199)) == (0, 128, 0)
