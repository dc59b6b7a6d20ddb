"""How figures look: colours that colour-blind readers tell apart, markers and lines for grey paper.

Ink, grid and paper have colours of their own, so that a page can exchange them for its theme's.
"""

from __future__ import annotations

import contextlib
import textwrap
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from matplotlib.ticker import MaxNLocator

#: Okabe & Ito 2008 without its yellow, which is too light for a line on white.
PALETTE = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "h", "p", "*")
LINES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)))
#: What must not be relied on: contended minutes above all.
GREY = "#85858c"
INK, SOFT, GRID, PAPER = "#1c1c1f", "#55555d", "#d8d8dc", "#fefefe"
#: Inches.  Text of 10 points stays readable where a phone shows the figure at four fifths.
WIDTH = 4.8
#: Of text that stands in a figure, in characters.
LINE = 52
#: A legend's line, and what an entry's mark takes of it, in characters.
_LEGEND, _HANDLE = 66, 10
#: More points than this are drawn as pixels.
MANY_POINTS = 400

_RC: Any = {
    "font.size": 10,
    "font.family": "sans-serif",
    # The next ones are as wide as the first one, with which the figure was laid out.
    "font.sans-serif": ["DejaVu Sans", "Verdana", "Arial", "sans-serif"],
    "svg.fonttype": "none",
    "text.parse_math": False,  # a name may hold a $
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": INK,
    "axes.facecolor": PAPER,
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "xtick.color": INK,
    "ytick.color": INK,
    "figure.facecolor": PAPER,
    "savefig.facecolor": PAPER,
    "legend.frameon": False,
    "legend.fontsize": 9.5,
    "legend.handlelength": 2.8,
    "lines.linewidth": 1.6,
    "lines.markersize": 5.5,
    "lines.markeredgewidth": 0.7,
    "axes.formatter.useoffset": False,
    "axes.unicode_minus": False,
}


@dataclass(frozen=True)
class Look:
    """How one method (or task) is drawn, everywhere in a report."""

    colour: str
    marker: str
    line: Any

    def line_options(self, grey: bool = False) -> dict[str, Any]:
        """Of `Axes.plot`."""
        return self.point_options(grey) | {"linestyle": self.line}

    def point_options(self, grey: bool = False) -> dict[str, Any]:
        """Of `Axes.plot` without a line."""
        return {
            "color": GREY if grey else self.colour,
            "marker": self.marker,
            "markeredgecolor": INK,
            "linestyle": "none",
        }


def looks(names: Iterable[str]) -> dict[str, Look]:
    """One look a name: colours come back after six, with other markers and lines."""
    return {
        name: Look(
            PALETTE[n % len(PALETTE)],
            MARKERS[n % len(MARKERS)],
            LINES[(n + n // len(PALETTE)) % len(LINES)],
        )
        for n, name in enumerate(names)
    }


@contextlib.contextmanager
def styled(salt: str = "") -> Iterator[None]:
    """Everything that draws or writes a figure stands in this; `salt` makes its ids."""
    with matplotlib.rc_context(_RC | {"svg.hashsalt": salt}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        yield


def canvas(height: float) -> Canvas:
    """An empty figure, inches."""
    return Canvas(figsize=(WIDTH, height), layout="constrained")


def axes(height: float) -> tuple[Canvas, Axes]:
    """An empty figure with one pair of axes."""
    made = canvas(height)
    return made, made.add_subplot()


def with_legend(made: Canvas, of: Axes) -> None:
    """A legend below the axes in as many columns as fit; the figure grows by its lines."""
    handles, names = of.get_legend_handles_labels()
    if not names:
        return
    columns = max(1, min(len(names), _LEGEND // (max(map(len, names)) + _HANDLE)))
    lines = -(-len(names) // columns)
    made.set_figheight(made.get_figheight() + 0.205 * lines)
    made.legend(
        handles, [shortened(name) for name in names], loc="outside lower center", ncols=columns
    )


def shortened(text: str, most: int = LINE) -> str:
    """As much of a name as a figure has room for."""
    return text if len(text) <= most else text[: most - 1] + "…"


def wrapped(text: str) -> str:
    """Text in lines."""
    return "\n".join(textwrap.wrap(text, LINE))


def whole_numbers(of: Axes) -> None:
    """Epochs have no halves."""
    of.xaxis.set_major_locator(MaxNLocator(integer=True))


def rows_of_names(of: Axes, names: Sequence[str]) -> list[float]:
    """Prepare for one row a name, the first on top, each name above its row (long ones have the
    whole width); returns the rows' places on the y axis."""
    of.set_ylim(-0.6, len(names) - 0.1)
    of.set_yticks([])
    of.grid(False, axis="y")
    of.spines["left"].set_visible(False)
    places = [float(len(names) - 1 - number) for number in range(len(names))]
    for place, name in zip(places, names, strict=True):
        of.text(
            0.0, place + 0.28, shortened(name), transform=of.get_yaxis_transform(),
            va="bottom", fontsize=9.5,
        )  # fmt: skip
        of.axhline(place, color=GRID, linewidth=0.6, zorder=0)
    return places


def height_of_rows(count: int) -> float:
    """Inches for so many rows of `rows_of_names`."""
    return 0.8 + 0.46 * count


def themed(svg: str, theme: Mapping[str, str]) -> str:
    """An SVG whose ink, grid and paper are a theme's (any CSS colour)."""
    for plain, name in ((INK, "ink"), (SOFT, "soft"), (GRID, "grid"), (PAPER, "paper")):
        svg = svg.replace(plain, theme[name])
    return svg
