"""A figure with its title and caption, as SVG for a page and as SVG and PNG files."""

from __future__ import annotations

import html
import io
import re
from dataclasses import dataclass
from typing import Any

from matplotlib.figure import Figure as Canvas

from orchestrator.report import style
from trainer.printable import printable

#: Resolution of PNG files and of points that are drawn as pixels.
DPI = 200
#: A page shows a figure at most this much larger than it was drawn.
_LARGEST = 1.25
_NO_DATE = {"Date": None, "Creator": None, "Format": None, "Type": None}
_UNSAFE = re.compile(r"[^\w.-]")
_METADATA = re.compile(r"\s*<metadata>.*?</metadata>", re.DOTALL)
_SIZE = re.compile(r'(<svg\b[^>]*?) width="[^"]*"|(<svg\b[^>]*?) height="[^"]*"')
_ID = re.compile(r'\bid="([^"]+)"')
_REFERENCE = re.compile(r'(xlink:href="#|url\(#)')
#: Our colours -> the CSS colours of the page's theme.
_THEME = {
    style.INK: "currentColor",
    style.SOFT: "var(--soft)",
    style.GRID: "var(--grid)",
    style.PAPER: "var(--figure)",
}


@dataclass(frozen=True)
class Figure:
    """One figure.

    Attributes:
        key: its file name without the ending, and its id in a page. Characters that neither
            allows become `_`.
        alt: the description for readers who cannot see it.
        caption: what to look for.
        canvas: matplotlib's figure, drawn within `style.axes`.
        phone: the same for a narrow page, if `canvas` is too wide for one.
    """

    key: str
    title: str
    alt: str
    caption: str
    canvas: Canvas
    phone: Canvas | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "key", _UNSAFE.sub("_", self.key))

    def svg(self) -> str:
        """An SVG file; the same figure gives the same text."""
        return self._svg(self.canvas)

    def _svg(self, canvas: Canvas) -> str:
        sink = io.StringIO()
        self._save(canvas, sink, "svg", _NO_DATE)
        # XML has no control characters, and matplotlib writes them as they are.
        return printable(_METADATA.sub("", sink.getvalue()))

    def png(self) -> bytes:
        sink = io.BytesIO()
        self._save(self.canvas, sink, "png", {"Software": None})
        return sink.getvalue()

    def _save(self, canvas: Canvas, sink: Any, kind: str, metadata: dict[str, Any]) -> None:
        with style.styled(self.key):
            # We run the layout once: matplotlib would run it twice for every file.
            if engine := canvas.get_layout_engine():
                engine.execute(canvas)
                canvas.set_layout_engine("none")
            canvas.savefig(sink, format=kind, metadata=metadata, dpi=DPI)

    def inline(self) -> str:
        """SVG elements for a page: in the colours of its theme, with ids unique in the page.

        There is one, or one of the class `wide` and one of the class `narrow`.
        """
        if self.phone is None:
            return self._inline(self.canvas, self.key, "")
        wide = self._inline(self.canvas, self.key, "wide")
        return wide + self._inline(self.phone, f"{self.key}.narrow", "narrow")

    def _inline(self, canvas: Canvas, key: str, kind: str) -> str:
        text = self._svg(canvas)
        text = text[text.index("<svg") :]
        for _ in range(2):
            text = _SIZE.sub(lambda match: match[1] or match[2], text, count=1)
        text = _ID.sub(lambda match: f'id="{key}.{match[1]}"', text)
        text = _REFERENCE.sub(lambda match: f"{match[1]}{key}.", text)
        width = round(canvas.get_figwidth() * 96 * _LARGEST)
        label = html.escape(self.alt, quote=True)
        kind = f' class="{kind}"' if kind else ""
        opening = f'<svg{kind} role="img" aria-label="{label}" style="max-width: {width}px"'
        text = text.replace("<svg", opening, 1)
        for colour, css in _THEME.items():
            text = text.replace(colour, css)
        return text
