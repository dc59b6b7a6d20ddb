"""The picture of the sweep's question: score and minutes of two methods, and their difference."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from matplotlib.axes import Axes

from orchestrator.decision.answer.answer import Answer, Bounded, Contest
from orchestrator.decision.answer.minutes import Minutes
from orchestrator.report import style
from orchestrator.report.figure import Figure
from orchestrator.report.measures import Measure, Published, minutes_of, score_of
from orchestrator.report.style import Look

if TYPE_CHECKING:
    from orchestrator.compare.compare_sweep import SweepComparison
    from orchestrator.ledger import Ledger

#: Places of the two methods, the difference and the published difference on the y axes.
_METHODS, _OURS, _THEIRS = (1.0, 0.0), 0.0, -1.0


def picture(
    ledger: Ledger,
    compared: SweepComparison,
    answer: Answer,
    published: Published | None,
    looks: Mapping[str, Look],
) -> Figure | None:
    """The picture of the first contest; None if a method has no score.

    Args:
        looks: of all methods, by their names.
    """
    if not answer.contests or compared.methods is None:
        return None
    contest = answer.contests[0]
    sides = (contest.one, contest.other)
    score = score_of(compared, answer, contest, published)
    if score is None:
        return None
    minutes = Minutes(ledger, [*compared.chosen.trials, *compared.chosen.confirming])
    measures = [score, *minutes_of(minutes, contest, published)]
    method_of = {c.config_id: m.name for m in compared.methods.methods for c in m.configurations}
    spare = style.looks(side.method for side in sides)
    chosen = [looks.get(method_of.get(s.config_id, ""), spare[s.method]) for s in sides]
    if chosen[0] == chosen[1]:  # two configurations of one method
        chosen = [spare[side.method] for side in sides]
    titles = [side.title for side in sides]
    with style.styled():
        canvas = style.canvas(3.35 + (0.45 if published else 0.0))
        grid = canvas.subplots(
            2, len(measures), squeeze=False, height_ratios=(2.0, 2.1 if published else 1.2)
        )
        for column, measure in enumerate(measures):
            _own(grid[0, column], measure, titles, chosen)
            _between(grid[1, column], measure, published is not None)
    texts = [
        f"{m.title}: {titles[0]} {_text(m.own[0])}, {titles[1]} {_text(m.own[1])}, "
        f"{m.between_title} {m.between_text}"
        + ("" if m.published is None else f", published {_signed(m)}")
        for m in measures
    ]
    return Figure(
        "contest",
        f"{titles[0]} against {titles[1]}",
        f"{titles[0]} against {titles[1]}. {'; '.join(texts)}.",
        _caption(answer, contest, minutes, published),
        canvas,
    )


def _caption(
    answer: Answer, contest: Contest, minutes: Minutes, published: Published | None
) -> str:
    ids = contest.one.config_id, contest.other.config_id
    seeds = f"{contest.one.seeds} {'fresh ' if answer.source == 'confirming' else ''}seeds"
    sentences = [f"Points: means over {seeds}. Lines: 95 % intervals"]
    if contest.one.minutes is not None and not minutes.timed(*ids):
        sentences[0] += ", for minutes the lowest and the highest of the trials"
    sentences[0] += "."
    if contest.difference is not None:
        sentences.append(
            f"The lower row decides. Grey: a difference up to {answer.margin:g} does not matter."
        )
    if published:
        sentences.append("Diamonds: the paper's figures.")
    return " ".join(sentences)


def _own(axes: Axes, measure: Measure, titles: Sequence[str], looks: Sequence[Look]) -> None:
    """Both methods, each with its name and value above it."""
    _bare(axes, (-0.45, 1.95))
    for place, title, look, value in zip(_METHODS, titles, looks, measure.own, strict=True):
        _point(axes, place, value, look)
        _above(axes, place, f"{style.shortened(title, 20)}  {_number(value.value)}", "bold")
    axes.set_title(measure.title, loc="left", fontsize=10)
    _within(axes, [end for value in measure.own for end in _ends(value)], measure.range)


def _between(axes: Axes, measure: Measure, published: bool) -> None:
    """The difference or ratio, and below it the paper's."""
    _bare(axes, (_THEIRS - 0.45 if published else -0.6, 0.75))
    axes.set_title(measure.between_title, loc="left", fontsize=10)
    rows = {_OURS: measure.between_text}
    ends = [measure.neutral - measure.margin, measure.neutral + measure.margin]
    if measure.between is not None and math.isfinite(measure.between.value):
        _point(axes, _OURS, measure.between, Look(style.INK, "o", "-"))
        ends += _ends(measure.between)
    if measure.published is not None:
        axes.plot(
            measure.published, _THEIRS, marker="D", color=style.INK, linestyle="none",
            markerfacecolor=style.PAPER,
        )  # fmt: skip
        rows[_THEIRS] = f"published: {_signed(measure)}"
        ends.append(measure.published)
    for place, text in rows.items():
        _above(axes, place, text)
    if len(ends) == 2:  # nothing was measured
        axes.set_axis_off()
        return
    # The band and the line end below the texts.
    for place in rows:
        bottom, top = place - 0.3, place + 0.17
        axes.fill_between(ends[:2], bottom, top, color=style.GRID, linewidth=0, zorder=0)
        axes.vlines(measure.neutral, bottom, top, color=style.INK, linewidth=0.8, zorder=1)
    axes.grid(False)
    _within(axes, ends, (-math.inf, math.inf))


def _point(axes: Axes, place: float, value: Bounded, look: Look) -> None:
    low, *rest = _ends(value)
    if rest:
        axes.plot([low, rest[-1]], [place, place], color=look.colour)
    axes.plot(value.value, place, **look.point_options())


def _above(axes: Axes, place: float, text: str, weight: str = "normal") -> None:
    """A text on the left, above its row."""
    axes.text(
        0.0, place + 0.2, text, transform=axes.get_yaxis_transform(), va="bottom", fontsize=9,
        weight=weight,
    )  # fmt: skip


def _bare(axes: Axes, ends: tuple[float, float]) -> None:
    axes.set_ylim(*ends)
    axes.set_yticks([])
    axes.grid(False, axis="y")
    axes.spines["left"].set_visible(False)


def _within(axes: Axes, ends: Sequence[float], range_: tuple[float, float]) -> None:
    """The axis shows these values and a little more, but nothing that cannot be."""
    low, high = min(ends), max(ends)
    space = 0.12 * (high - low) or 0.05 * abs(high) or 0.05
    axes.set_xlim(max(range_[0], low - space), min(range_[1], high + space))
    style.few_ticks(axes, 3)


def _ends(value: Bounded) -> list[float]:
    """Low end, value and high end; the value alone where an end is not known."""
    ends = (value.low, value.value, value.high)
    known = [end for end in ends if end is not None and math.isfinite(end)]
    return known if len(known) == 3 else [value.value]


def _number(value: float) -> str:
    return f"{value:#.3g}" if abs(value) < 100 else f"{value:,.0f}"


def _text(value: Bounded) -> str:
    low, *rest = _ends(value)
    interval = f" [{_number(low)}, {_number(rest[-1])}]" if rest else ""
    return f"{_number(value.value)}{interval}"


def _signed(measure: Measure) -> str:
    value = measure.published or 0.0
    return f"{value:+.3f}" if measure.neutral == 0 else f"{value:.2f}"
