"""How figures look: colours for colour-blind readers, markers and line styles for grey paper.

Ink, grid and paper have colours that nothing else uses, so that a page can replace them with the
colours of its theme.
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
from matplotlib.ticker import AutoLocator, MaxNLocator

#: Okabe & Ito 2008 without its yellow, which is too light for a line on white.
PALETTE = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "h", "p", "*")
LINES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)))
#: For numbers that must not be relied on, such as contended minutes.
GREY = "#85858c"
INK, SOFT, GRID, PAPER = "#1c1c1f", "#55555d", "#d8d8dc", "#fefefe"
#: Inches.  A phone shows the figure at four fifths of this; text of 10 points stays readable.
WIDTH = 4.8
#: Of a figure that stands alone on a page as wide as a desk's or on paper.
WIDE = 9.6
#: The longest line of text in a figure, in characters.
LINE = 52
#: Characters of a legend in an inch, and of an entry's mark.
_LEGEND, _HANDLE = 13.75, 10
#: The height of a label at a line's end, and of what is not axes in a figure, in inches.
_LABEL, _AROUND = 0.17, 0.75
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
#: The user's own matplotlibrc changes nothing in a report.
_LOOK = {key: value for key, value in matplotlib.rcParamsDefault.items() if key != "backend"} | _RC


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
    with matplotlib.rc_context(_LOOK | {"svg.hashsalt": salt}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        yield


def canvas(height: float, width: float = WIDTH) -> Canvas:
    """An empty figure; height and width are in inches."""
    return Canvas(figsize=(width, height), layout="constrained")


@contextlib.contextmanager
def axes(height: float, width: float = WIDTH) -> Iterator[tuple[Canvas, Axes]]:
    """A new figure with one pair of axes; on leaving, its legend is added."""
    with styled():
        drawing = canvas(height, width)
        axes = drawing.add_subplot()
        yield drawing, axes
        if isinstance(axes.xaxis.get_major_locator(), AutoLocator):
            few_ticks(axes, 5 if width == WIDTH else 9)
        _add_legend(drawing, axes)


def _add_legend(drawing: Canvas, axes: Axes) -> None:
    """Add a legend below the axes in as many columns as fit; the figure grows by its lines."""
    handles, names = axes.get_legend_handles_labels()
    if not names:
        return
    room = int(_LEGEND * drawing.get_figwidth())
    columns = max(1, min(len(names), room // (max(map(len, names)) + _HANDLE)))
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


def label_ends(axes: Axes, ends: Mapping[str, tuple[float, float]], marks: Sequence[Any]) -> None:
    """Name curves on the right of the axes, each as near to its last point as names have room.

    Args:
        ends: name -> x and y of the curve's last point.
        marks: for each name the options of `Axes.plot` for its points.
    """
    if not ends:
        return
    low, high = axes.get_ylim()
    names, inside = list(ends), axes.transAxes
    width, height = _size(axes)
    wanted = [(ends[name][1] - low) / (high - low) for name in names]
    order = sorted(range(len(names)), key=lambda n: wanted[n])
    places = spaced([wanted[n] for n in order], _LABEL / (height - _AROUND))
    most = 22 if width <= WIDTH else LINE
    for number, place in zip(order, places, strict=True):
        axes.annotate(
            "", xy=ends[names[number]], xytext=(1.03, place), textcoords="axes fraction",
            annotation_clip=False,
            arrowprops={
                "arrowstyle": "-", "color": marks[number]["color"], "linewidth": 0.6,
                "linestyle": ":", "shrinkA": 0, "shrinkB": 2,
            },
        )  # fmt: skip
        axes.plot(1.04, place, transform=inside, clip_on=False, **marks[number])
        axes.text(
            1.07, place, shortened(names[number], most), transform=inside, va="center", fontsize=9
        )


def _size(axes: Axes) -> tuple[float, float]:
    """Width and height of the whole figure in inches."""
    figure = axes.get_figure(root=True)
    assert figure is not None
    width, height = figure.get_size_inches()
    return float(width), float(height)


def spaced(places: Sequence[float], gap: float) -> list[float]:
    """Rising places, moved as little as the gaps ask for; they stay in 0 to 1 if they fit.

    The sum of the squared moves is the smallest (an isotonic regression).
    """
    from scipy.optimize import isotonic_regression

    steps = [gap * number for number in range(len(places))]
    room = max(0.0, 1.0 - steps[-1]) if steps else 0.0
    free = isotonic_regression([p - s for p, s in zip(places, steps, strict=True)]).x
    return [min(room, max(0.0, float(p))) + s for p, s in zip(free, steps, strict=True)]


def height_of_curves(count: int, least: float) -> float:
    """The height in inches at which the labels of so many curves have room."""
    return max(least, _AROUND + _LABEL * (count + 1))


def few_ticks(axes: Axes, most: int) -> None:
    """At most so many steps between ticks of the x axis, so that their numbers do not touch."""
    axes.xaxis.set_major_locator(MaxNLocator(nbins=most, steps=[1, 2, 2.5, 5, 10]))


def label_minutes(axes: Axes, label: str, problem: str) -> None:
    """Label the x axis; `problem` says why its minutes do not compare, empty if they do."""
    if problem:
        axes.set_xlabel(f"{label}, not comparable:\n{wrapped(problem)}", color=SOFT)
    else:
        axes.set_xlabel(label)


def label_whole(axes: Axes, label: str) -> None:
    """Label the x axis, whose ticks are whole numbers."""
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    axes.set_xlabel(label)


def rows_of_names(axes: Axes, names: Sequence[str]) -> list[float]:
    """Prepare one row per name, the first on top; return the rows' places on the y axis.

    On a narrow figure each name stands above its row, where long names have the whole width. On
    a wide one it stands on the left.
    """
    if _size(axes)[0] > WIDTH:
        places = [float(len(names) - 1 - number) for number in range(len(names))]
        axes.set_ylim(-0.6, len(names) - 0.4)
        axes.set_yticks(places, [shortened(name, 40) for name in names])
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        return places
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


def height_of_rows(count: int, width: float = WIDTH) -> float:
    """The height in inches for `rows_of_names`."""
    return 0.8 + (0.46 if width == WIDTH else 0.29) * count
