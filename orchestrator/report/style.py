"""How figures look: colours for colour-blind readers, markers and line styles for grey paper.

Ink, grid and paper have colours that nothing else uses, so that a page can replace them with the
colours of its theme.
"""

from __future__ import annotations

import contextlib
import textwrap
import warnings
from collections.abc import Iterable, Iterator, Sequence
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
#: For numbers that must not be relied on, such as contended minutes.
GREY = "#85858c"
INK, SOFT, GRID, PAPER = "#1c1c1f", "#55555d", "#d8d8dc", "#fefefe"
#: Inches.  A phone shows the figure at four fifths of this; text of 10 points stays readable.
WIDTH = 4.8
#: The longest line of text in a figure, in characters.
LINE = 52
#: The width of a legend and of an entry's mark, in characters.
_LEGEND, _HANDLE = 66, 10
#: More points than this are drawn as pixels.
MANY_POINTS = 400

_RC: Any = {
    "font.size": 10,
    "font.family": "sans-serif",
    # The layout uses the first font; the others are about as wide.
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
        """Options of `Axes.plot` for a line."""
        return self.point_options(grey) | {"linestyle": self.line}

    def point_options(self, grey: bool = False) -> dict[str, Any]:
        """Options of `Axes.plot` for points without a line."""
        return {
            "color": GREY if grey else self.colour,
            "marker": self.marker,
            "markeredgecolor": INK,
            "linestyle": "none",
        }


def looks(names: Iterable[str]) -> dict[str, Look]:
    """One look per name. Colours repeat after six names, with other markers and lines."""
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
    """Everything that draws or saves a figure runs within this; ids are derived from `salt`."""
    with matplotlib.rc_context(_RC | {"svg.hashsalt": salt}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        yield


def canvas(height: float) -> Canvas:
    """An empty figure, `height` inches high."""
    return Canvas(figsize=(WIDTH, height), layout="constrained")


@contextlib.contextmanager
def axes(height: float) -> Iterator[tuple[Canvas, Axes]]:
    """A new figure with one pair of axes; on leaving, its legend is added."""
    with styled():
        drawing = canvas(height)
        axes = drawing.add_subplot()
        yield drawing, axes
        _add_legend(drawing, axes)


def _add_legend(drawing: Canvas, axes: Axes) -> None:
    """Add a legend below the axes in as many columns as fit; the figure grows by its lines."""
    handles, names = axes.get_legend_handles_labels()
    if not names:
        return
    columns = max(1, min(len(names), _LEGEND // (max(map(len, names)) + _HANDLE)))
    lines = -(-len(names) // columns)
    drawing.set_figheight(drawing.get_figheight() + 0.205 * lines)
    drawing.legend(
        handles, [shortened(name) for name in names], loc="outside lower center", ncols=columns
    )


def shortened(text: str, most: int = LINE) -> str:
    """As much of a name as a figure has room for."""
    return text if len(text) <= most else text[: most - 1] + "…"


def wrapped(text: str) -> str:
    """Text in lines."""
    return "\n".join(textwrap.wrap(text, LINE))


def few_ticks(axes: Axes, most: int) -> None:
    """At most so many steps between ticks of the x axis, so that their numbers do not touch."""
    axes.xaxis.set_major_locator(MaxNLocator(nbins=most, steps=[1, 2, 2.5, 5, 10]))


def label_minutes(axes: Axes, label: str, problem: str) -> None:
    """Label the x axis; `problem` says why its minutes do not compare, empty if they do."""
    if problem:
        axes.set_xlabel(f"{label}, not comparable:\n{wrapped(problem)}", color=SOFT)
    else:
        axes.set_xlabel(label)


def label_epochs(axes: Axes) -> None:
    """Label the x axis with whole epochs."""
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("epoch")


def rows_of_names(axes: Axes, names: Sequence[str]) -> list[float]:
    """Prepare one row per name, the first on top; return the rows' places on the y axis.

    Each name stands above its row, where long names have the whole width.
    """
    axes.set_ylim(-0.6, len(names) - 0.1)
    axes.set_yticks([])
    axes.grid(False, axis="y")
    axes.spines["left"].set_visible(False)
    places = [float(len(names) - 1 - number) for number in range(len(names))]
    for place, name in zip(places, names, strict=True):
        axes.text(
            0.0, place + 0.28, shortened(name), transform=axes.get_yaxis_transform(),
            va="bottom", fontsize=9.5,
        )  # fmt: skip
        axes.axhline(place, color=GRID, linewidth=0.6, zorder=0)
    return places


def height_of_rows(count: int) -> float:
    """The height in inches for `rows_of_names`."""
    return 0.8 + 0.46 * count
