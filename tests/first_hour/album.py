"""The pictures of a walk: numbered, as PNG, with the text of each terminal beside its picture."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from tests.first_hour.terminal import Terminal
from tests.support.browser import Browser

#: Width of a character and height of a line of a terminal's picture, and its margins, in pixels.
_CHARACTER, _LINE, _MARGIN = 8.43, 17.5, 26


class Album:
    """Numbers pictures in the order in which they are taken, and tells where they are."""

    def __init__(self, folder: Path, browser: Browser):
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self._browser = folder, browser
        self._taken = 0

    def screen(self, terminal: Terminal, name: str, history: bool = False) -> None:
        """A terminal as it is now, or with everything that has scrolled away."""
        path = self._next(name)
        page = terminal.picture(path, history)
        lines = path.with_suffix(".txt").read_text().splitlines()
        columns = max([80, *map(len, lines)])
        width = round(columns * _CHARACTER) + _MARGIN
        self._browser.open(page, width, height=round(len(lines) * _LINE) + _MARGIN)
        self._browser.picture(path.with_suffix(".png"))
        page.unlink()

    def window(self, page: Path | str, name: str, width: int, height: int = 800) -> None:
        """What a browser's window of this size shows of a page first."""
        self._browser.open(page, width, height=height)
        self.now(name)

    def whole(self, page: Path | str, name: str, width: int) -> None:
        """A page from its top to its end, at this width."""
        self._browser.open(page, width)
        self._browser.picture(self._next(name).with_suffix(".png"), whole=True)

    def now(self, name: str) -> None:
        """The browser's window as it is."""
        self._browser.picture(self._next(name).with_suffix(".png"))

    def printed(self, page: Path, name: str) -> list[str]:
        """A page as PDF, each of its sheets as a picture; returns each sheet's text."""
        path = self._next(name)
        self._browser.open(page, 1280)
        pdf = self._browser.pdf(path.with_suffix(".pdf"))
        subprocess.run(["pdftoppm", "-r", "60", "-png", pdf, path], check=True)
        text = subprocess.run(
            ["pdftotext", "-layout", pdf, "-"], check=True, capture_output=True, text=True
        ).stdout
        return text.split("\f")[:-1]

    def keep(self, file: Path, name: str) -> None:
        """A file as it is."""
        shutil.copy(file, self._next(name).with_suffix(file.suffix))

    def _next(self, name: str) -> Path:
        self._taken += 1
        path = self.folder / f"{self._taken:02}-{name}"
        print(path.name, flush=True)
        return path
