"""A figure with what a reader needs beside it, as SVG for a page, as SVG and PNG files."""

from __future__ import annotations

import html
import io
import re
from dataclasses import dataclass

from matplotlib.figure import Figure as Canvas

from orchestrator.report import style

#: Dots an inch of files and of points that are drawn as pixels.
DPI = 200
_NO_DATE = {"Date": None, "Creator": None, "Format": None, "Type": None}
_UNSAFE = re.compile(r"[^\w.-]")
_METADATA = re.compile(r"\s*<metadata>.*?</metadata>", re.DOTALL)
_SIZE = re.compile(r'(<svg\b[^>]*?) width="[^"]*"|(<svg\b[^>]*?) height="[^"]*"')
_ID = re.compile(r'\bid="([^"]+)"')
_REFERENCE = re.compile(r'(xlink:href="#|url\(#)')
_THEME = {
    "ink": "currentColor",
    "soft": "var(--soft)",
    "grid": "var(--grid)",
    "paper": "var(--figure)",
}


@dataclass(frozen=True)
class Figure:
    """One figure.

    Attributes:
        key: its file's name without ending, and its id in a page; what neither may hold becomes _.
        alt: what is drawn, for who cannot see it.
        caption: what to see in it.
        drawn: matplotlib's figure, drawn within `style.styled`.
    """

    key: str
    title: str
    alt: str
    caption: str
    drawn: Canvas

    def __post_init__(self) -> None:
        object.__setattr__(self, "key", _UNSAFE.sub("_", self.key))

    def svg(self) -> str:
        """A file of its own: the same figure gives the same text."""
        sink = io.StringIO()
        with style.styled(self.key):
            self._lay_out()
            self.drawn.savefig(sink, format="svg", metadata=_NO_DATE, dpi=DPI)
        return _METADATA.sub("", sink.getvalue())

    def _lay_out(self) -> None:
        """Place everything once: left to itself, matplotlib draws twice for every file."""
        engine = self.drawn.get_layout_engine()
        if engine is not None:
            engine.execute(self.drawn)
            self.drawn.set_layout_engine("none")

    def inline(self) -> str:
        """For a page: colours of its theme, ids that no other figure of the page has."""
        text = self.svg()
        text = text[text.index("<svg") :]
        for _ in range(2):
            text = _SIZE.sub(lambda found: found[1] or found[2], text, count=1)
        text = _ID.sub(lambda found: f'id="{self.key}.{found[1]}"', text)
        text = _REFERENCE.sub(lambda found: f"{found[1]}{self.key}.", text)
        width = round(self.drawn.get_figwidth() * 96)
        label = html.escape(self.alt, quote=True)
        opening = f'<svg role="img" aria-label="{label}" style="max-width: {width}px"'
        return style.themed(text.replace("<svg", opening, 1), _THEME)

    def png(self) -> bytes:
        """Pixels, 200 an inch."""
        sink = io.BytesIO()
        with style.styled(self.key):
            self._lay_out()
            self.drawn.savefig(sink, format="png", dpi=DPI, metadata={"Software": None})
        return sink.getvalue()
